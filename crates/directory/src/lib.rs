//! Domains, accounts, aliases, credentials, keys: what changes at run time.

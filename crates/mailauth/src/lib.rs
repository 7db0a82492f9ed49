//! SPF, DKIM, DMARC, ARC, MTA-STS, DANE, TLS-RPT results as values.

//! What the site shows: components in clients' words, and the table of systems.

use store::StoreError;

use crate::Board;

/// A component as the operator describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// `receiving`; probes name it.
    pub id: String,
    /// `Receiving mail`.
    pub name: String,
    pub about: String,
    /// Trouble of one cause gathers in one incident: `mail`, `web`.
    pub cause: String,
    /// Mail flow decides the verdict; ports only explain.
    pub decides: bool,
}

/// A machine in "Systems at a Glance".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    pub code: String,
    pub country: String,
    pub place: String,
    pub role: String,
    /// A fixed word (`INTERNAL`, `PROVISIONING`), or empty to follow `component`.
    pub word: String,
    pub component: String,
}

/// The components of a mail provider, in clients' words.
pub fn usual_parts() -> Vec<Part> {
    let part = |id: &str, name: &str, about: &str, cause: &str, decides: bool| Part {
        id: id.into(),
        name: name.into(),
        about: about.into(),
        cause: cause.into(),
        decides,
    };
    vec![
        part(
            "receiving",
            "Receiving mail",
            "A real message from outside reaches a mailbox here.",
            "mail",
            true,
        ),
        part(
            "sending",
            "Sending mail",
            "A real message from here reaches mailboxes elsewhere.",
            "mail",
            true,
        ),
        part("to.microsoft-consumer", "Mail to Outlook and Hotmail addresses", "", "route.microsoft", true),
        part("to.google", "Mail to Gmail addresses", "", "route.google", true),
        part("reading", "Mail programs (IMAP/POP)", "Log in, list and read.", "mail", true),
        part("webmail", "Webmail", "", "web", true),
        part("ports", "Ports and certificates", "", "ports", false),
        part("dns", "Name servers and DNS", "", "dns", false),
        part("disk", "Disk space", "", "disk", false),
    ]
}

impl Board {
    /// Sets the components; states, days and incidents of those that stay are kept.
    ///
    /// # Errors
    /// Trouble with the store.
    pub async fn set_parts(&self, parts: Vec<Part>) -> Result<(), StoreError> {
        let now = self.now();
        self.store()
            .commit(Vec::new(), move |b| {
                let mut put = b.sql().prepare_cached(
                    "INSERT INTO component (id, position, name, about, cause, decides, since, counted) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?7)
                     ON CONFLICT (id) DO UPDATE SET position = ?2, name = ?3, about = ?4, cause = ?5, decides = ?6",
                )?;
                for (n, p) in parts.iter().enumerate() {
                    put.execute((&p.id, n as i64, &p.name, &p.about, &p.cause, p.decides, now.ms() as i64))?;
                }
                let keep: Vec<&str> = parts.iter().map(|p| p.id.as_str()).collect();
                let have: Vec<String> = b.sql().prepare("SELECT id FROM component")?.query_map([], |r| r.get(0))?.collect::<Result<_, _>>()?;
                for gone in have.iter().filter(|h| !keep.contains(&h.as_str())) {
                    b.sql().execute("DELETE FROM component WHERE id = ?1", [gone])?;
                }
                Ok(())
            })
            .await?;
        self.publish().await
    }

    /// Sets the table of systems.
    ///
    /// # Errors
    /// Trouble with the store.
    pub async fn set_machines(&self, machines: Vec<Machine>) -> Result<(), StoreError> {
        self.store()
            .commit(Vec::new(), move |b| {
                b.sql().execute("DELETE FROM system", [])?;
                let mut put =
                    b.sql().prepare_cached("INSERT INTO system VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?;
                for (n, m) in machines.iter().enumerate() {
                    put.execute((&m.code, n as i64, &m.country, &m.place, &m.role, &m.word, &m.component))?;
                }
                Ok(())
            })
            .await?;
        self.publish().await
    }
}

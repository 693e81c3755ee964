//! restic's own REST server over a folder of the test's, without users: what is really there lies open, and the server can be
//! ended and started again.

use std::path::{Path, PathBuf};

use super::watched::{Watched, debian_newest, free_port};

/// A running server.
#[derive(Debug)]
pub struct RestServer {
    port: u16,
    folder: PathBuf,
    server: Option<Watched>,
}

impl RestServer {
    /// A server over a folder; below it, each folder is a repository.
    ///
    /// # Panics
    /// It is missing or does not start.
    pub async fn over(folder: &Path) -> Self {
        let mut server = Self { port: free_port(), folder: folder.to_owned(), server: None };
        server.start().await;
        server
    }

    /// Its port, which stays the same.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Ends it, whatever it is doing.
    pub fn end(&mut self) {
        if let Some(server) = self.server.take() {
            server.end();
        }
    }

    /// Starts it again.
    ///
    /// # Panics
    /// It does not start.
    pub async fn start(&mut self) {
        let log = self.folder.with_extension("log");
        let (address, folder) = (format!("127.0.0.1:{}", self.port), self.folder.display().to_string());
        let args = ["--listen", &address, "--path", &folder, "--no-auth"];
        self.server =
            Some(Watched::start(&debian_newest("rest-server"), &args, &[], &log).listens(self.port, &log).await);
    }
}

//! Libraries of functions, loaded into a server.
//!
//! Takes the `FUNCTION LOAD` of a stream, and the `FUNCTION RESTORE` of other programs. Always holds: each library is loaded
//! on its own terms, so that one that is already there keeps none of the others out.

use aquifer_engine::failure::Failure;
use bytes::Bytes;

use crate::redis::write::load::{Before, Loader, OnConflict};
use crate::redis::write::replies::{Pending, What};

impl Loader {
    /// Loads a library, or with `all` several that stand in one payload.
    pub(super) async fn functions(&mut self, code: &[u8], all: bool, offset: u64) -> Result<(), Failure> {
        let replace = self.on_functions == OnConflict::Replace;
        self.close_key().await?;
        // Functions belong to no database: where databases are emptied one by one, none is emptied for them.
        if self.before == Before::FlushAll {
            self.empty().await?;
        }
        let whole: &[&[u8]] = match (all, replace) {
            (true, true) => &[b"FUNCTION", b"RESTORE", code, b"REPLACE"],
            (true, false) => &[b"FUNCTION", b"RESTORE", code, b"APPEND"],
            (false, true) => &[b"FUNCTION", b"LOAD", b"REPLACE", code],
            (false, false) => &[b"FUNCTION", b"LOAD", code],
        };
        let Some(servers) = self.fleet.as_ref().map(|fleet| fleet.nodes.len()) else {
            return self.count(What::Functions { all, counts: true });
        };
        // Functions belong to no slot: each master of a cluster has them.
        for at in 0..servers {
            let Some(fleet) = &mut self.fleet else { continue };
            let (size, again) = fleet.write(at, whole.len() as u64, whole.iter().copied());
            let what = What::Functions { all, counts: at == 0 };
            self.sent(at, Pending { key: Bytes::new(), offset, size, again, what, held: Vec::new() }).await?;
        }
        Ok(())
    }
}

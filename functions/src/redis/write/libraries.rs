//! Libraries of functions, loaded into a server.
//!
//! Takes the `FUNCTION LOAD` of a stream, and the `FUNCTION RESTORE` of other programs. Always holds: each library is loaded
//! on its own terms, so that one that is already there keeps none of the others out.

use aquifer_engine::failure::Failure;
use bytes::Bytes;

use crate::redis::stream::wrong::refused;
use crate::redis::write::load::{Before, Loader, OnConflict};
use crate::redis::write::replies::{Pending, What};

impl Loader {
    /// Carries out a `FUNCTION` command.
    pub(super) async fn function(&mut self, args: &[&[u8]], offset: u64) -> Result<(), Failure> {
        let replace = self.on_functions == OnConflict::Replace;
        let word = args.get(1).map(|word| word.to_ascii_uppercase()).unwrap_or_default();
        let (args, all): (Vec<&[u8]>, _) = match (&word[..], &args[2..]) {
            (b"LOAD", [code]) => (vec![code], false),
            (b"LOAD", [option, code]) if option.eq_ignore_ascii_case(b"REPLACE") => (vec![code], false),
            (b"RESTORE", [payload] | [payload, _]) => (vec![payload], true),
            _ => return Err(refused(offset, b"FUNCTION")),
        };
        self.close_key().await?;
        // Functions belong to no database: where databases are emptied one by one, none is emptied for them.
        if self.before == Before::FlushAll {
            self.empty().await?;
        }
        let mut whole: Vec<&[u8]> = vec![b"FUNCTION", &word];
        if all {
            whole.extend(args);
            whole.push(if replace { b"REPLACE" } else { b"APPEND" });
        } else {
            whole.extend(replace.then_some(&b"REPLACE"[..]));
            whole.extend(args);
        }
        let Some(servers) = self.fleet.as_ref().map(|fleet| fleet.nodes.len()) else {
            return self.count(What::Functions { all, counts: true });
        };
        // Functions belong to no slot: each master of a cluster has them.
        for at in 0..servers {
            let Some(fleet) = &mut self.fleet else { continue };
            let (size, again) = fleet.write(at, whole.len() as u64, whole.iter().copied());
            let what = What::Functions { all, counts: at == 0 };
            self.sent(at, Pending { key: Bytes::new(), offset, size, again, what }).await?;
        }
        Ok(())
    }
}

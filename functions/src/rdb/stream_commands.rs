//! The commands that make a stream of an RDB.
//!
//! Takes what a [`Visitor`](super::visit::Visitor) is told of a stream. Gives a [`StreamWriter`] its parts. Always holds: nothing is written
//! before the key was taken away.

use aquifer_engine::failure::Failure;

use super::commands::Commands;
use super::visit::Stream;
use crate::redis::stream::streams::text;

impl Commands<'_> {
    /// Writes a part of a stream.
    pub(super) async fn part(&mut self, part: Stream<'_>) -> Result<(), Failure> {
        self.begin();
        let (form, to) = (&mut *self.form, &mut self.stream);
        match part {
            Stream::Entry { id, fields } => {
                self.elements += 1;
                to.entry(form, &text(id), fields);
            }
            Stream::State(state) => to.state(form, state.last, state.more.map(|more| (more.added, more.deleted))),
            Stream::Group { name, last, read } => {
                to.group(form, name, last, read.and_then(|read| u64::try_from(read).ok()));
            }
            Stream::Consumer { name, .. } => to.consumer(form, name),
            Stream::Pending { id, consumer, delivered, times, there } => {
                to.pending(form, consumer, id, (u64::try_from(delivered).unwrap_or(0), times), there);
            }
        }
        self.form.flush_some().await
    }
}

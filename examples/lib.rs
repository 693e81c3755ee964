//! Holds the examples: `embed.rs`, and the Task files beside it, which the tests check and run.

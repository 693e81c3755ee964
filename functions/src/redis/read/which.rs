//! Which databases of a server are read.
//!
//! Takes what the user says and what the server holds. Gives their numbers. Always holds: a database that holds keys is left out
//! in silence only where the user lists others.

use aquifer_engine::function::Call;

use crate::redis::wire::facts::Facts;

/// The databases to read, in order. Says so where others that hold keys are left out because of the url.
pub(crate) fn which_databases(listed: Option<Vec<u32>>, in_url: Option<u32>, facts: &Facts, call: &Call) -> Vec<u32> {
    if let Some(mut listed) = listed {
        listed.sort_unstable();
        listed.dedup();
        return listed;
    }
    let all: Vec<u32> = facts.databases.iter().map(|database| database.index).collect();
    let Some(only) = in_url else { return all };
    let others: Vec<String> = all.iter().filter(|index| **index != only).map(u32::to_string).collect();
    if !others.is_empty() {
        call.warn(format!(
            "only database {only} is read, as `url` says; those that hold keys and are left out: {}",
            others.join(", ")
        ));
    }
    vec![only]
}

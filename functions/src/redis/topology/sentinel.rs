//! Sentinels: where the master of a name is, and its replicas.
//!
//! Takes the addresses of sentinels. Gives [`Known`]. Always holds: all sentinels that are named are asked, and the newest of
//! what they say counts; where two say different things of the same age, nobody is believed. Whether it is true is for
//! whoever connects to find out.

use aquifer_engine::failure::Failure;
use aquifer_engine::function::Call;
use futures::future::join_all;

use crate::redis::wire::address::{Address, Found, Place};
use crate::redis::wire::connection::Connection;
use crate::redis::wire::outgoing::Names;
use crate::redis::wire::reply::Reply;
use crate::redis::wire::reply::{field, fields};
use crate::redis::wire::target::{Protocol, Target, shown};

/// What sentinels know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) master: Place,
    /// Those that they take for sound, in an order that stays the same.
    pub(crate) replicas: Vec<Place>,
    /// Grows with every failover.
    epoch: u64,
}

/// Says that a name is not known.
const UNKNOWN: &str = "ERR No such master with that name";

/// Asks all sentinels of the address.
///
/// # Errors
/// None of them answers, none knows the name, or they disagree.
pub(crate) async fn ask(target: &Target, name: &str, call: &Call) -> Result<Known, Failure> {
    let places: Vec<&Place> = target.places().collect();
    let answers = join_all(places.iter().map(|place| one(target, place, name, call))).await;
    call.check_cancelled()?;
    let (mut known, mut failures, mut strangers) = (Vec::new(), Vec::new(), 0);
    for (place, answer) in places.iter().zip(answers) {
        match answer {
            Ok(Some(answer)) => known.push(answer),
            Ok(None) => strangers += 1,
            Err(failure) => failures.push((target.at((*place).clone()).shown(), failure)),
        }
    }
    let newest = known.iter().map(|known| known.epoch).max();
    let Some(newest) = newest else { return Err(nobody(name, strangers, failures)) };
    if !failures.is_empty() {
        let silent: Vec<&str> = failures.iter().map(|(shown, _)| &shown[..]).collect();
        call.warn(format!("of {} sentinels these do not answer: {}", places.len(), silent.join(", ")));
    }
    known.retain(|known| known.epoch == newest);
    let masters = |known: &Known| target.at(known.master.clone()).shown();
    let mut said: Vec<String> = known.iter().map(masters).collect();
    said.sort();
    said.dedup();
    match (&said[..], known.into_iter().next()) {
        ([_], Some(known)) => Ok(known),
        _ => Err(Failure::unavailable(format!("the sentinels disagree: the master `{name}` is at {}", said.join(" or at ")))
            .with_help("a failover may be under way; another attempt asks again. Where they go on disagreeing, look at `SENTINEL MASTER` of each")),
    }
}

fn nobody(name: &str, strangers: usize, failures: Vec<(String, Failure)>) -> Failure {
    if failures.is_empty() {
        return Failure::rejected(format!("no sentinel knows a master of the name `{name}`")).with_help(
            "the name is what stands behind `sentinel monitor` in their settings; `SENTINEL MASTERS` lists all",
        );
    }
    let asked = failures.len();
    let mut reasons: Vec<String> = failures.iter().map(|(_, failure)| failure.message.clone()).collect();
    let (kind, help) =
        failures.into_iter().next().map_or((None, None), |(_, failure)| (Some(failure.kind), failure.help));
    if strangers > 0 {
        reasons.push(format!("{strangers} more do not know the name"));
    }
    let message = if asked == 1 { "the sentinel cannot be asked" } else { "none of the sentinels can be asked" };
    let failure = Failure::unavailable(message);
    Failure { causes: reasons, help, kind: kind.unwrap_or(failure.kind), ..failure }
}

/// Asks one; `None` where it does not know the name.
async fn one(target: &Target, place: &Place, name: &str, call: &Call) -> Result<Option<Known>, Failure> {
    let login = &target.sentinel;
    let address = Address {
        place: place.clone(),
        others: Vec::new(),
        found: Found::Server,
        username: login.username.clone(),
        password: login.password.clone(),
        database: None,
        ..target.address.clone()
    };
    // Commands are renamed on the servers; a sentinel has others.
    let sentinel = Target { address, names: Names::default(), protocol: Protocol::Second, ..target.clone() };
    let mut connection = Connection::open(&sentinel, call).await?;
    let master = match connection.ask(&[b"SENTINEL", b"MASTER", name.as_bytes()]).await? {
        Reply::Error(error) if error.starts_with(UNKNOWN) => return Ok(None),
        reply => connection.accepted(reply, "asking a sentinel for the master").map_err(no_sentinel)?,
    };
    let master = fields(master);
    let Some(found) = announced(&master, target, place) else {
        return Err(connection.unexpected("`SENTINEL MASTER`", &master));
    };
    let epoch = text(&master, "config-epoch").parse().unwrap_or(0);
    let reply = connection.ask(&[b"SENTINEL", b"REPLICAS", name.as_bytes()]).await?;
    let replicas = connection.accepted(reply, "asking a sentinel for the replicas")?.items().unwrap_or_default();
    let mut sound = Vec::new();
    for replica in replicas.into_iter().map(fields) {
        let flags = text(&replica, "flags");
        let down = flags.split(',').any(|flag| ["s_down", "o_down", "disconnected"].contains(&flag));
        if !down && let Some(place) = announced(&replica, target, place) {
            sound.push(place);
        }
    }
    // The order of the keys in a dump is the server's: the same one gives the same bytes.
    sound.sort_by_key(|place| target.at(place.clone()).shown());
    Ok(Some(Known { master: found, replicas: sound, epoch }))
}

fn no_sentinel(failure: Failure) -> Failure {
    if failure.message.contains("unknown command") {
        failure.with_help("is it a sentinel? Their port is 26379 as a rule, and not that of the servers")
    } else {
        failure
    }
}

fn text(reply: &[Reply], name: &str) -> String {
    String::from_utf8_lossy(&field(reply, name)).into_owned()
}

fn announced(reply: &[Reply], target: &Target, teller: &Place) -> Option<Place> {
    let port = text(reply, "port").parse().ok()?;
    let host = text(reply, "ip");
    (!host.is_empty()).then(|| target.announced(&host, port, teller))
}

/// The master that the sentinels had named when a restore began.
#[derive(Debug, Clone)]
pub(crate) struct Watch {
    target: Target,
    name: String,
    master: Place,
}

impl Watch {
    pub(crate) fn new(target: &Target, name: &str, known: &Known) -> Self {
        Self { target: target.clone(), name: name.to_owned(), master: known.master.clone() }
    }

    /// Asks again whether it is still the master.
    ///
    /// # Errors
    /// Another server is, or the sentinels cannot be asked.
    pub(crate) async fn still(&self, call: &Call) -> Result<(), Failure> {
        let known = ask(&self.target, &self.name, call).await?;
        if known.master == self.master {
            return Ok(());
        }
        let place = |place: &Place| match place {
            Place::Tcp(host, port) => shown(host, *port),
            Place::Unix(path) => path.clone(),
        };
        Err(Failure::unavailable(format!(
            "the master `{}` was `{}` when the restore began, and is `{}` now: what the first had confirmed may be lost",
            self.name,
            place(&self.master),
            place(&known.master)
        ))
        .with_help("restore again, with `onConflict: replace` or `before: flush-all`"))
    }
}

//! Real servers for objects, each started once for a whole test binary, all under one face.
//!
//! Takes nothing. Gives [`all`] of them, and for each the locations that lead to it and what is really there, told by
//! something else than what is tested. Always holds: a program that is missing fails the test and says how to install it; the
//! servers end with the test's process.
//!
//! What is wrong with the rig panics: it is for tests alone.

mod azure;
mod b2;
mod folder;
mod front;
mod gcs;
mod rest;
pub mod rest_server;
mod s3;
mod sftp;
mod swift;
pub mod tls_front;
mod watched;
mod webdav;

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;
use tokio::sync::OnceCell;

pub use watched::{debian_newest, free_port, installed};

/// What takes a while.
pub type Later<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A server that holds objects, or a folder that does.
pub trait StoreServer: Send + Sync {
    /// What it is, for messages.
    fn called(&self) -> &'static str;

    /// The map form of a location below a name of its own.
    fn location(&self, place: &str) -> Value;

    /// The names of all that is at a place, in order: objects, and in front of what is left half-sent the word `pending`.
    fn names<'a>(&'a self, place: &'a str) -> Later<'a, Vec<String>>;

    /// The bytes of an object that must be there.
    fn bytes<'a>(&'a self, place: &'a str, name: &'a str) -> Later<'a, Vec<u8>>;

    /// Locations with credentials that the server refuses, where it asks for any.
    fn refused(&self, _: &str) -> Vec<Value> {
        Vec::new()
    }

    /// The text form, and the environment that belongs to it, where the text says it all.
    fn text(&self, _: &str) -> Option<(String, Vec<(&'static str, String)>)> {
        None
    }

    /// Other environments that are as good as the one of [`Self::text`]; the last in each is the secret, or the file that holds it.
    fn other_keys(&self) -> Vec<Vec<(&'static str, String)>> {
        Vec::new()
    }

    /// The environment that leads to this server what the text form leads to the provider's own.
    fn way(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    /// The location as one whose server's key is not known, where keys of servers are known one by one.
    fn stranger(&self, _: &str) -> Option<Value> {
        None
    }

    /// A location in a bucket that is not there, where there are buckets.
    fn missing(&self) -> Option<Value> {
        None
    }

    /// The location as a server has it that takes nothing but new files, where there is such a one.
    fn append_only(&self, _: &str) -> Option<Value> {
        None
    }

    /// The environment with which restic finds the place, where it knows this kind; what begins with a hyphen is an option.
    fn restic(&self, _: &str) -> Option<Vec<(&'static str, String)>> {
        None
    }

    /// The programs that [`Self::restic`] is for: restic's version in Debian 12, and the newest one.
    fn restics(&self) -> &'static [&'static str] {
        &["restic", "restic-newest"]
    }

    /// Where its files lie on this machine, where they are plain ones that are sent beside their places.
    fn files(&self, _: &str) -> Option<PathBuf> {
        None
    }

    /// Whether it is another one of these servers, and only signed in at in another way, so that the data goes to another port than
    /// the locations name.
    fn is_other_way(&self) -> bool {
        false
    }

    /// Makes it forget all tokens that it gave, where it gives such.
    fn forgets_tokens(&self) -> bool {
        false
    }

    /// The port that its locations name, where they name one.
    fn port(&self) -> Option<u16> {
        None
    }

    /// Leaves a part of an object there that is never put together, where such a part keeps the name from others.
    fn leave_part<'a>(&'a self, _: &'a str, _: &'a str) -> Option<Later<'a, ()>> {
        None
    }

    /// Whether objects other than a repository's can be stored there.
    fn takes_objects(&self) -> bool {
        true
    }
}

/// All servers that there are.
#[expect(clippy::disallowed_methods, reason = "the script that runs the tests says which servers it installed")]
pub async fn all() -> &'static [Box<dyn StoreServer>] {
    static ALL: OnceCell<Vec<Box<dyn StoreServer>>> = OnceCell::const_new();
    ALL.get_or_init(async || {
        // `./test` says so, which installs what Debian and Python have; the others come from Go and npm.
        let others = std::env::var("AQUIFER_TEST_STORES").as_deref() != Ok("debian");
        let (ours, others) = tokio::join!(
            async {
                let (moto, rest, sftp) = tokio::join!(s3::moto(), rest::start(), sftp::start());
                let (apache, rclone, [swift, keystone]) =
                    tokio::join!(webdav::apache(), webdav::rclone(), swift::start());
                let ours: [Box<dyn StoreServer>; 8] = [
                    Box::new(folder::start()),
                    Box::new(moto),
                    Box::new(rest),
                    Box::new(sftp),
                    Box::new(apache),
                    Box::new(rclone),
                    Box::new(swift),
                    Box::new(keystone),
                ];
                ours
            },
            async {
                if !others {
                    return Vec::new();
                }
                let (minio, gcs, azure, b2) = tokio::join!(s3::minio(), gcs::start(), azure::start(), b2::start());
                let others: [Box<dyn StoreServer>; 4] = [Box::new(minio), Box::new(gcs), Box::new(azure), Box::new(b2)];
                Vec::from(others)
            }
        );
        ours.into_iter().chain(others).collect()
    })
    .await
}

/// The servers that hold plain objects, each once, as [`alone`] knows them.
pub const ALONE: [&str; 8] =
    ["a folder", "MinIO", "OpenSSH", "Apache's WebDAV", "Swift", "Azurite", "fake-gcs-server", "moto"];

/// One server of [`ALONE`] and no other, which ends and leaves nothing behind when it is dropped.
///
/// # Panics
/// There is none of this name.
pub async fn alone(called: &str) -> Box<dyn StoreServer> {
    let server: Box<dyn StoreServer> = match called {
        "a folder" => Box::new(folder::start()),
        "MinIO" => Box::new(s3::minio().await),
        "OpenSSH" => Box::new(sftp::start().await),
        "Apache's WebDAV" => Box::new(webdav::apache().await),
        "Swift" => {
            let [swift, _] = swift::start().await;
            Box::new(swift)
        }
        "Azurite" => Box::new(azure::start().await),
        "fake-gcs-server" => Box::new(gcs::start().await),
        "moto" => Box::new(s3::moto().await),
        _ => panic!("there is no server `{called}`"),
    };
    server
}

/// A place that nobody else uses; with letters that a URL does not have, and slashes.
pub fn place() -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    format!("of tests/plätze/{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

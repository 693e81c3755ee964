//! An object on its way to Swift: at once, or in parts that a manifest makes one object of ("static large object").
//!
//! Always holds: the object appears with its manifest, or with its only part; parts of what is given up are removed, unless the object may
//! yet appear; so are, once a new object has taken its place, those of an older one that no other object can need.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use http::StatusCode;
use opendal::raw::oio::{self, MultipartPart};
use opendal::{Buffer, Error, ErrorKind, Metadata, MetadataBuilder, Result};
use serde_json::{Value, json};

use super::objects::Objects;
use crate::location::spoken::refusal;

/// How many parts one manifest names; servers take 1000 unless they are told otherwise. More are named by manifests of manifests.
const GROUP: usize = 500;

/// Tells that an object is of this very upload, where the answer to the last request was lost.
const MARK: &str = "X-Object-Meta-Aquifer-Upload";

pub(crate) struct Upload {
    objects: Arc<Objects>,
    name: String,
    new: bool,
    /// Drawn for this upload; none where the system gives no random numbers.
    mark: Option<String>,
    /// The names of the parts that may be there.
    parts: Mutex<Vec<String>>,
    /// Whether the object may be there, or appear: it was asked for, and the server has not said no.
    unsure: AtomicBool,
}

/// What a manifest says of one of its parts.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Named {
    name: String,
    etag: Option<String>,
    size: u64,
}

/// Cuts what is more than a manifest may name into manifests of their own: those, and what is left for the last one.
fn grouped(mut all: Vec<Named>, group: usize, folder: &str) -> (Vec<(String, Vec<Named>)>, Vec<Named>) {
    let mut manifests = Vec::new();
    while all.len() > group {
        let mut above = Vec::new();
        for few in all.chunks(group) {
            let name = format!("{folder}/manifest-{:06}", manifests.len());
            above.push(Named { name: name.clone(), etag: None, size: few.iter().map(|part| part.size).sum() });
            manifests.push((name, few.to_vec()));
        }
        all = above;
    }
    (manifests, all)
}

impl Upload {
    pub(super) fn new(objects: Arc<Objects>, name: &str, new: bool) -> Self {
        let mut random = [0; 16];
        let mark = getrandom::fill(&mut random).is_ok().then(|| hex::encode(random));
        let (parts, unsure) = (Mutex::default(), AtomicBool::new(false));
        Self { objects, name: name.to_owned(), new, mark, parts, unsure }
    }

    fn mark(&self) -> Result<&str> {
        self.mark.as_deref().ok_or_else(|| Error::new(ErrorKind::Unexpected, "the system gives no random numbers"))
    }

    fn note(&self, name: &str) {
        let mut parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        if !parts.iter().any(|part| part == name) {
            parts.push(name.to_owned());
        }
    }

    /// A manifest's text.
    fn manifest(&self, parts: &[Named]) -> Buffer {
        let line = |part: &Named| {
            let path = format!("/{}/{}{}", self.objects.container, self.objects.prefix, part.name);
            match &part.etag {
                Some(etag) => json!({"path": path, "etag": etag, "size_bytes": part.size}),
                // A manifest's own is none of its bytes.
                None => json!({"path": path, "size_bytes": part.size}),
            }
        };
        Buffer::from(Value::Array(parts.iter().map(line).collect()).to_string())
    }

    /// The request that makes the object visible.
    async fn commit(&self, query: &str, body: &Buffer) -> Result<()> {
        let older = if self.new { None } else { self.objects.parts_of(&self.name).await? };
        let path = format!("{}{query}", self.objects.path(&self.name));
        let length = body.len().to_string();
        let mut headers =
            vec![(MARK, self.mark()?), ("Content-Length", &length), ("Content-Type", "application/octet-stream")];
        if self.new {
            headers.push(("If-None-Match", "*"));
        }
        // Before it is sent, since nobody may wait for its end.
        let again = self.unsure.swap(true, Ordering::Relaxed);
        let answer = self.objects.client.ask("PUT", &path, &headers, body).await?;
        // A server, or what stands in front of it, may say 5xx and go on.
        if !again && !answer.status().is_success() && !answer.status().is_server_error() {
            self.unsure.store(false, Ordering::Relaxed);
        }
        match answer.status() {
            status if status.is_success() => {}
            // The answer to an earlier attempt was lost.
            StatusCode::PRECONDITION_FAILED if again && self.is_there().await? => return Ok(()),
            StatusCode::PRECONDITION_FAILED => {
                return Err(Error::new(ErrorKind::ConditionNotMatch, "there is such an object already"));
            }
            _ => return Err(refusal("a write", &answer)),
        }
        // Where an earlier attempt was carried out, what is there now is this object's own.
        let ours = self.parts.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let ours: Vec<String> = ours.iter().map(|name| self.objects.path(name)).collect();
        for part in older.iter().flat_map(|parts| &parts.own).filter(|part| !ours.contains(part)) {
            // They cost room, and nothing else.
            _ = self.objects.remove(part).await;
        }
        Ok(())
    }

    /// Whether what is there is of this upload.
    async fn is_there(&self) -> Result<bool> {
        let answer = self.objects.head(&self.name).await?;
        if !answer.status().is_success() && answer.status() != StatusCode::NOT_FOUND {
            return Err(refusal("a look", &answer));
        }
        let mark = answer.headers().get(MARK).and_then(|mark| mark.to_str().ok());
        Ok(mark.is_some() && mark == self.mark.as_deref())
    }

    fn folder(&self) -> Result<String> {
        Ok(format!("{}/{}", self.objects.place(&self.name), self.mark()?))
    }
}

impl oio::MultipartWrite for Upload {
    async fn write_once(&self, size: u64, body: Buffer) -> Result<Metadata> {
        self.commit("", &body).await?;
        Ok(MetadataBuilder::file(size).build())
    }

    async fn initiate_part(&self) -> Result<String> {
        self.folder()
    }

    async fn write_part(&self, folder: &str, number: usize, size: u64, body: Buffer) -> Result<MultipartPart> {
        let name = format!("{folder}/{number:05}");
        self.note(&name);
        let length = size.to_string();
        let headers = [("Content-Length", length.as_str()), ("Content-Type", "application/octet-stream")];
        let answer = self.objects.client.ask("PUT", &self.objects.path(&name), &headers, &body).await?;
        if !answer.status().is_success() {
            return Err(refusal("a part", &answer));
        }
        let etag = answer.headers().get(http::header::ETAG).and_then(|etag| etag.to_str().ok());
        let etag = etag.unwrap_or_default().trim_matches('"').to_owned();
        Ok(MultipartPart { part_number: number, etag, checksum: None, size: Some(size) })
    }

    async fn complete_part(&self, folder: &str, parts: &[MultipartPart]) -> Result<Metadata> {
        let named = parts.iter().map(|part| Named {
            name: format!("{folder}/{:05}", part.part_number),
            etag: Some(part.etag.clone()).filter(|etag| !etag.is_empty()),
            size: part.size.unwrap_or_default(),
        });
        let (manifests, last) = grouped(named.collect(), GROUP, folder);
        let size = last.iter().map(|part| part.size).sum();
        for (name, few) in manifests {
            self.note(&name);
            let text = self.manifest(&few);
            let length = text.len().to_string();
            let path = format!("{}?multipart-manifest=put", self.objects.path(&name));
            let answer = self.objects.client.ask("PUT", &path, &[("Content-Length", &length)], &text).await?;
            if !answer.status().is_success() {
                return Err(refusal("a manifest of parts", &answer));
            }
        }
        self.commit("?multipart-manifest=put", &self.manifest(&last)).await?;
        Ok(MetadataBuilder::file(size).build())
    }

    async fn abort_part(&self, _: &str) -> Result<()> {
        // The object may have been made by a request whose answer was lost, or may be made a moment later.
        if self.unsure.load(Ordering::Relaxed) {
            return Ok(());
        }
        let parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for part in parts {
            self.objects.remove(&self.objects.path(&part)).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_manifest_names_more_than_it_may_and_all_name_everything() {
        let part = |number: usize| Named { name: format!("f/{number:05}"), etag: None, size: number as u64 };
        for (count, group) in [(1, 4), (4, 4), (5, 4), (17, 4), (100, 4), (10_000, GROUP)] {
            let (manifests, last) = grouped((1..=count).map(part).collect(), group, "f");
            assert!(last.len() <= group && manifests.iter().all(|(_, few)| few.len() <= group), "{count}");
            let total: u64 = last.iter().map(|part| part.size).sum();
            assert_eq!(total, (1..=count as u64).sum::<u64>(), "{count}");
            // Read as a server does.
            let mut left: Vec<String> = last.into_iter().rev().map(|part| part.name).collect();
            let mut read = Vec::new();
            while let Some(next) = left.pop() {
                match manifests.iter().find(|(name, _)| *name == next) {
                    Some((_, few)) => left.extend(few.iter().rev().map(|part| part.name.clone())),
                    None => read.push(next),
                }
            }
            assert_eq!(read, (1..=count).map(|number| part(number).name).collect::<Vec<_>>());
        }
    }
}

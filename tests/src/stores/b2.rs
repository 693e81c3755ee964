//! Something that answers a login as Backblaze's reference says, in front of MinIO, which stands in for B2's S3.
//!
//! Always holds: what B2's S3 does not know is refused here too, as far as we know of it: writes under a condition.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use super::front::{First, Provider, front};
use super::s3::{BUCKET, ID, S3, SECRET, minio};
use super::{Later, StoreServer};

const LOGIN: &str = "api.backblazeb2.com";
const S3_HOST: &str = "s3.us-east-1.backblazeb2.com";

pub(super) struct B2 {
    behind: S3,
    port: u16,
    provider: Provider,
}

fn answered(first: &First) -> Option<(&'static str, Value)> {
    let login = first.head.strip_prefix("GET /b2api/v3/b2_authorize_account ");
    login?;
    let known = format!("Basic {}", BASE64_STANDARD.encode(format!("{ID}:{SECRET}")));
    if first.header("authorization") != known {
        return Some((
            "401 Unauthorized",
            json!({"status": 401, "code": "unauthorized", "message": "invalid applicationKeyId or applicationKey"}),
        ));
    }
    // By whatever way it was asked, the store is there too.
    let address = match first.header("host") {
        LOGIN => format!("https://{S3_HOST}"),
        host => format!("http://{host}"),
    };
    let storage = json!({
        "absoluteMinimumPartSize": 5_000_000, "apiUrl": "https://api001.backblazeb2.com", "bucketId": null, "bucketName": null,
        "capabilities": ["listBuckets", "listFiles", "readFiles", "writeFiles", "deleteFiles"], "infoType": "storageApi",
        "downloadUrl": "https://f001.backblazeb2.com", "namePrefix": null, "recommendedPartSize": 100_000_000, "s3ApiUrl": address,
    });
    let token = "4_hunter2-token";
    Some((
        "200 OK",
        json!({"accountId": "0123456789ab", "authorizationToken": token, "apiInfo": {"storageApi": storage}}),
    ))
}

pub(super) async fn start() -> B2 {
    let behind = minio().await;
    let port = front(behind.port().expect("it listens"), Some("if-none-match"), answered);
    let provider = Provider::start(&format!("DNS:{LOGIN},DNS:{S3_HOST}"), port).await;
    B2 { behind, port, provider }
}

impl StoreServer for B2 {
    fn called(&self) -> &'static str {
        "MinIO behind B2's login"
    }

    fn location(&self, place: &str) -> Value {
        let endpoint = format!("http://127.0.0.1:{}", self.port);
        json!({"b2": {"bucket": BUCKET, "prefix": place, "keyId": ID, "key": SECRET, "endpoint": endpoint}})
    }

    fn names<'a>(&'a self, place: &'a str) -> Later<'a, Vec<String>> {
        self.behind.names(place)
    }

    fn bytes<'a>(&'a self, place: &'a str, name: &'a str) -> Later<'a, Vec<u8>> {
        self.behind.bytes(place, name)
    }

    fn port(&self) -> Option<u16> {
        Some(self.port)
    }

    fn refused(&self, place: &str) -> Vec<Value> {
        let mut location = self.location(place);
        location["b2"]["key"] = json!("hunter2-another");
        vec![location]
    }

    fn missing(&self) -> Option<Value> {
        let mut location = self.location("n");
        location["b2"]["bucket"] = json!("no-such-bucket");
        Some(location)
    }

    /// By S3: of B2's own protocol there is no server. restic's names in a bucket are the same by both.
    fn restic(&self, place: &str) -> Option<Vec<(&'static str, String)>> {
        self.behind.restic(place)
    }

    fn text(&self, place: &str) -> Option<(String, Vec<(&'static str, String)>)> {
        let keys = vec![("B2_ACCOUNT_ID", ID.to_owned()), ("B2_ACCOUNT_KEY", SECRET.to_owned())];
        Some((format!("b2:{BUCKET}:/{place}"), keys))
    }

    fn other_keys(&self) -> Vec<Vec<(&'static str, String)>> {
        let of = |id: &'static str, key: &'static str| vec![(id, ID.to_owned()), (key, SECRET.to_owned())];
        // The account's own id is often set as well, where the key belongs to another.
        let mut three = of("B2_APPLICATION_KEY_ID", "B2_APPLICATION_KEY");
        three.insert(0, ("B2_ACCOUNT_ID", "0123456789ab".to_owned()));
        vec![of("B2_APPLICATION_KEY_ID", "B2_APPLICATION_KEY"), of("B2_ACCOUNT_ID", "B2_APPLICATION_KEY"), three]
    }

    fn way(&self) -> Vec<(&'static str, String)> {
        self.provider.environment()
    }
}

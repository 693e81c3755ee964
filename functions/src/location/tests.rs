//! The forms of a location, and what is refused in them.

mod b2;
mod double;
mod swift;
mod webdav;

use serde_json::{Value, from_value, json};

use super::*;

fn shown(value: Value) -> String {
    from_value::<Location>(value).expect("sound").to_string()
}

#[test]
fn every_form_names_its_place() {
    for (value, place) in [
        (json!("/backup"), "/backup"),
        (json!("backup/redis"), "backup/redis"),
        (json!("file:///backup/a"), "/backup/a"),
        (json!("local:/backup"), "/backup"),
        (json!({"folder": "/backup"}), "/backup"),
        (json!("s3://bucket"), "s3://bucket"),
        (json!("s3://bucket/a/b/"), "s3://bucket/a/b"),
        (json!("s3:https://host:9000/bucket/a"), "s3:https://host:9000/bucket/a"),
        (json!("s3:host/bucket"), "s3:https://host/bucket"),
        (json!("s3:host/bucket:/a"), "s3:https://host/bucket/a"),
        (json!("gs://bucket/a/b"), "gs://bucket/a/b"),
        (json!("gs:bucket:/a/b"), "gs://bucket/a/b"),
        (json!("gs:bucket"), "gs://bucket"),
        (json!("azure:container:/a"), "azure://container/a"),
        (json!("azure://container/a/"), "azure://container/a"),
        (json!("sftp:me@host:/srv/a"), "sftp://me@host//srv/a"),
        (json!("sftp:host:a/b"), "sftp://host/a/b"),
        (json!("sftp://me@host:2222//srv/a"), "sftp://me@host:2222//srv/a"),
        (json!("sftp://[::1]:22/a"), "sftp://[::1]:22/a"),
        (json!("rest:http://host:8000/a/"), "rest:http://host:8000/a/"),
        (json!("rest:host:8000/a"), "rest:https://host:8000/a/"),
        (json!("webdav:https://host/dav/a"), "webdav:https://host/dav/a/"),
        (json!("webdav:host/dav/"), "webdav:https://host/dav/"),
        (json!("b2:bucket:/a/b"), "b2://bucket/a/b"),
        (json!("b2:bucket:a/b"), "b2://bucket/a/b"),
        (json!("b2:bucket"), "b2://bucket"),
        (json!("b2://bucket/a/"), "b2://bucket/a"),
        (json!("swift:container:/a/b"), "swift://container/a/b"),
        (json!("swift://container/a/"), "swift://container/a"),
        (json!({"s3": {"bucket": "b", "prefix": "/p/"}}), "s3://b/p"),
        (json!({"s3": {"bucket": "b", "endpoint": "http://127.0.0.1:9000"}}), "s3:http://127.0.0.1:9000/b"),
    ] {
        assert_eq!(shown(value.clone()), place, "{value}");
    }
}

#[test]
fn a_form_that_is_not_known_is_told_what_there_is() {
    for (value, part) in [
        (json!("ftp://bucket/a"), "`ftp`"),
        (json!("rest:http://user:pass@host/"), "credentials"),
        (json!("webdav:https://me:pass@host/"), "credentials"),
        (json!("s3://"), "bucket"),
        (json!("b2:"), "bucket"),
        (json!("b2::/a"), "bucket"),
        (json!("s3:https://host"), "bucket"),
        (json!("file://host/a"), "host"),
        (json!("sftp:host"), "no folder"),
        (json!("sftp://me:pass@host/a"), "credentials"),
        (json!({}), "empty"),
        (json!({"s4": {}}), "`s4`"),
        (json!({"folder": "/a", "s3": {"bucket": "b"}}), "not both"),
        (json!({"s3": {"bucket": "b", "acces": 1}}), "`acces`"),
        (json!(7), "a place for objects"),
    ] {
        let error = from_value::<Location>(value.clone()).expect_err("refused").to_string();
        assert!(error.contains(part), "{value}: {error}");
    }
}

#[test]
fn half_a_credential_and_a_wrong_endpoint_are_refused_of_what_has_a_url_too() {
    for (value, path) in [
        (json!({"url": "host"}), "url"),
        (json!({"url": "http://u:p@h/"}), "url"),
        (json!({"url": "http://h/", "username": "a"}), "password"),
        (json!({"url": "http://h/", "passwordFile": "a"}), "username"),
        (json!({"url": "http://h/", "username": "a", "password": "a", "passwordFile": "a"}), "passwordFile"),
        (json!({"url": "http://h/", "http": {"connections": 0}}), "http.connections"),
    ] {
        for kind in ["rest", "webdav"] {
            let location = from_value::<Location>(json!({kind: value})).expect("sound in form");
            assert_eq!(location.check("to").expect_err("refused").path, format!("to.{kind}.{path}"));
        }
    }
}

#[test]
fn half_a_credential_and_two_of_them_are_refused_of_the_clouds() {
    for (value, path) in [
        (json!({"gcs": {"bucket": "a b"}}), "to.gcs.bucket"),
        (json!({"gcs": {"bucket": "b", "credentials": "{}", "credentialsFile": "f"}}), "to.gcs.credentialsFile"),
        (json!({"gcs": {"bucket": "b", "credentials": "{}", "token": "t"}}), "to.gcs.token"),
        (json!({"gcs": {"bucket": "b", "tokenFile": "t", "anonymous": true}}), "to.gcs.anonymous"),
        (json!({"gcs": {"bucket": "b", "token": ""}}), "to.gcs.token"),
        (json!({"gcs": {"bucket": "b", "endpoint": "http://u:p@h"}}), "to.gcs.endpoint"),
        (json!({"b2": {"bucket": "a b"}}), "to.b2.bucket"),
        (json!({"b2": {"bucket": "b", "keyId": "i"}}), "to.b2.key"),
        (json!({"b2": {"bucket": "b", "keyId": "", "key": "k"}}), "to.b2.keyId"),
        (json!({"b2": {"bucket": "b", "keyFile": "f"}}), "to.b2.keyId"),
        (json!({"b2": {"bucket": "b", "keyId": "i", "key": "k", "keyFile": "f"}}), "to.b2.keyFile"),
        (json!({"b2": {"bucket": "b", "endpoint": "https://u:p@h"}}), "to.b2.endpoint"),
        (json!({"sftp": {"host": "-oProxyCommand=x", "path": "a"}}), "to.sftp.host"),
        (json!({"sftp": {"host": "me@h", "path": "a"}}), "to.sftp.host"),
        (json!({"sftp": {"host": "h", "username": "-l", "path": "a"}}), "to.sftp.username"),
        (json!({"sftp": {"host": "h", "path": ""}}), "to.sftp.path"),
        (json!({"azure": {"container": ""}}), "to.azure.container"),
        (json!({"azure": {"container": "c", "accountKey": "k"}}), "to.azure.accountName"),
        (json!({"azure": {"container": "c", "accountName": "a.b"}}), "to.azure.accountName"),
        (
            json!({"azure": {"container": "c", "accountName": "a", "accountKey": "k", "sasToken": "s"}}),
            "to.azure.sasToken",
        ),
        (json!({"azure": {"container": "c", "sasToken": "s", "sasTokenFile": "s"}}), "to.azure.sasTokenFile"),
        (json!({"azure": {"container": "c", "http": {"insecure": true, "caFile": "f"}}}), "to.azure.http.insecure"),
    ] {
        let location = from_value::<Location>(value.clone()).expect("sound in form");
        assert_eq!(location.check("to").expect_err("refused").path, path, "{value}");
    }
    from_value::<Location>(json!({"gcs": {"bucket": "b", "projectID": "p"}})).expect_err("an option that is not known");
}

#[test]
fn a_swift_location_says_all_that_signing_in_needs_or_nothing() {
    let (own, keystone) = ("https://h/auth/v1.0", "https://h:5000/v3");
    for (value, path) in [
        (json!({"container": "a/b"}), "container"),
        (json!({"container": "c", "username": "u"}), "authUrl"),
        (json!({"container": "c", "authUrl": "h"}), "authUrl"),
        (json!({"container": "c", "authUrl": "https://u:p@h/v3"}), "authUrl"),
        (json!({"container": "c", "authUrl": own, "username": "u"}), "password"),
        (json!({"container": "c", "authUrl": own, "password": "p"}), "username"),
        (json!({"container": "c", "authUrl": own, "username": "u", "password": "p", "project": "t"}), "project"),
        (json!({"container": "c", "authUrl": keystone, "username": "u", "password": "p"}), "project"),
        (json!({"container": "c", "authUrl": keystone, "username": "u", "project": "t"}), "password"),
        (json!({"container": "c", "authUrl": keystone, "applicationCredentialId": "i"}), "applicationCredentialSecret"),
        (
            json!({"container": "c", "authUrl": keystone, "applicationCredentialId": "i",
                "applicationCredentialSecret": "s", "username": "u"}),
            "username",
        ),
        (
            json!({"container": "c", "authUrl": own, "username": "u", "password": "p", "passwordFile": "f"}),
            "passwordFile",
        ),
    ] {
        let location = from_value::<Location>(json!({"swift": value})).expect("sound in form");
        assert_eq!(location.check("to").expect_err("refused").path, format!("to.swift.{path}"), "{value}");
    }
    for value in [
        json!({"container": "c"}),
        json!({"container": "c", "authUrl": own, "username": "u", "passwordFile": "f"}),
        json!({"container": "c", "authUrl": keystone, "username": "u", "password": "p", "project": "t", "region": "r"}),
        json!({"container": "c", "authUrl": keystone, "applicationCredentialId": "i", "applicationCredentialSecret": "s"}),
    ] {
        let location = from_value::<Location>(json!({"swift": value})).expect("sound in form");
        location.check("to").unwrap_or_else(|error| panic!("{value}: {error:?}"));
    }
}

#[test]
fn half_a_credential_and_a_wrong_endpoint_are_refused() {
    for (value, path) in [
        (json!({"bucket": ""}), "to.s3.bucket"),
        (json!({"bucket": "a/b"}), "to.s3.bucket"),
        (json!({"bucket": "b", "accessKeyId": "a"}), "to.s3.secretAccessKey"),
        (json!({"bucket": "b", "secretAccessKey": "a"}), "to.s3.accessKeyId"),
        (json!({"bucket": "b", "sessionToken": "a"}), "to.s3.accessKeyId"),
        (json!({"bucket": "b", "endpoint": "ftp://h"}), "to.s3.endpoint"),
        (json!({"bucket": "b", "endpoint": "http://u:p@h"}), "to.s3.endpoint"),
        (json!({"bucket": "b", "endpoint": "http://h/path"}), "to.s3.endpoint"),
    ] {
        let location = from_value::<Location>(json!({"s3": value})).expect("sound in form");
        assert_eq!(location.check("to").expect_err("refused").path, path);
    }
}

#[test]
fn a_secret_is_in_no_debug_form() {
    let location: Location =
        from_value(json!({"s3": {"bucket": "b", "accessKeyId": "a", "secretAccessKey": "hunter2"}})).expect("sound");
    assert!(!format!("{location:?} {location}").contains("hunter2"));
}

#[test]
fn what_holds_repositories_only_takes_no_objects() {
    let location: Location = from_value(json!("rest:http://host/a/")).expect("sound");
    location.check("to").expect("sound for a repository");
    let error = location.check_objects("to").expect_err("refused");
    assert!(error.path == "to" && error.help.is_some_and(|help| help.contains("restic-push")));
    from_value::<Location>(json!("/a")).expect("sound").check_objects("to").expect("a folder takes all");
}

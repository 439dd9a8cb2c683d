//! The contract of every backend, checked in the AWS emulator's S3 or in the store at `BAILIWICK_TEST_S3`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use bailiwick::backend::{Objects, Precondition, S3Objects};

use crate::emulators::{self, Aws, Gate, Ran, Verdict, World};
use crate::promises::{every_backend, in_store};

/// The store to use instead of the emulator, if any.
fn store() -> Option<String> {
    std::env::var("BAILIWICK_TEST_S3").ok()
}

/// A bucket that no other test uses, and the emulator that must live as long.
async fn bucket(name: &str) -> (Client, String, Option<Aws>) {
    match store() {
        Some(endpoint) => {
            let (client, name) = bucket_at(endpoint, name).await;
            (client, name, None)
        }
        None => {
            let aws = Aws::start();
            let (client, name) = bucket_at(format!("http://{}", aws.address()), name).await;
            (client, name, Some(aws))
        }
    }
}

fn client_at(endpoint: String) -> Client {
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new("test", "test", None, None, "test"))
        .endpoint_url(endpoint)
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .force_path_style(true);
    Client::from_conf(config.build())
}

async fn bucket_at(endpoint: String, name: &str) -> (Client, String) {
    let client = client_at(endpoint);
    let name = format!("state-{name}-{}", std::process::id());
    client.create_bucket().bucket(&name).send().await.unwrap();
    (client, name)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket() {
    let (client, name, _emulator) = bucket("contract").await;
    let objects = Arc::new(S3Objects::new(&client, &name, "team/prod", None));
    every_backend(in_store(objects, Duration::from_secs(4)), 6).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_many_conditional_writes_succeeds() {
    let (client, name, _emulator) = bucket("race").await;
    let objects = Arc::new(S3Objects::new(&client, &name, "", None));
    let mut condition = Precondition::Absent;
    for round in 0..5 {
        let key = "p/contested";
        let writers: Vec<_> = (0..8)
            .map(|n| {
                let (objects, condition) = (objects.clone(), condition.clone());
                let bytes = format!("{round}-{n}").into_bytes();
                tokio::spawn(async move { objects.put(key, bytes, condition).await.unwrap() })
            })
            .collect();
        let mut winners = Vec::new();
        for writer in writers {
            winners.extend(writer.await.unwrap());
        }
        assert_eq!(winners.len(), 1, "round {round}");
        let found = objects.get(key).await.unwrap().unwrap();
        assert_eq!(found.tag, winners[0]);
        condition = Precondition::Tag(found.tag);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn list_returns_objects_of_all_pages() {
    let (client, name, _emulator) = bucket("pages").await;
    let objects = Arc::new(S3Objects::new(&client, &name, "deep/er/", None));
    let writes = (0..1010).map(|n| {
        let objects = objects.clone();
        async move { objects.put(&format!("p/{n:04}"), Vec::new(), Precondition::Always).await.unwrap() }
    });
    futures_util::future::join_all(writes).await;
    let keys = objects.list("p/").await.unwrap();
    assert_eq!((keys.len(), keys.first().map(String::as_str)), (1010, Some("p/0000")));
    assert_eq!(objects.get("p/none").await.unwrap(), None);
    objects.delete("p/0000").await.unwrap();
    objects.delete("p/0000").await.unwrap();
    objects.copy("p/0001", "q/1").await.unwrap();
    assert_eq!(objects.list("q/").await.unwrap(), ["q/1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_of_any_page_size_miss_no_object_when_others_are_deleted() {
    for most in [1, 2] {
        let aws = Aws::start();
        let (_, name) = bucket_at(format!("http://{}", aws.address()), "short-pages").await;
        let (address, bucket) = (aws.address().to_owned(), name.clone());
        let is_done = AtomicBool::new(false);
        // Before the second page is read, an object of the first is deleted and one that belongs on the last is added.
        let gate = Gate::open(&aws, move |request| {
            if request.contains("continuation-token=") && !is_done.swap(true, Ordering::Relaxed) {
                emulators::s3_at(&address, &format!("DELETE /{bucket}/team/p/0")).ok();
                emulators::s3_at(&address, &format!("PUT /{bucket}/team/p/9")).ok();
            }
            Verdict::Pass
        });
        let objects = Arc::new(S3Objects::new(&client_at(format!("http://{}", gate.address())), &name, "team", None));
        for n in 0..5 {
            objects.put(&format!("p/{n}"), Vec::new(), Precondition::Always).await.unwrap();
        }
        aws.pages_of(most);
        assert_eq!(objects.list("p/").await.unwrap(), ["p/0", "p/1", "p/2", "p/3", "p/4", "p/9"]);
        assert_eq!(objects.list("p/").await.unwrap(), ["p/1", "p/2", "p/3", "p/4", "p/9"]);
        assert_eq!(objects.list("none/").await.unwrap(), [""; 0]);
        every_backend(in_store(objects, Duration::from_secs(4)), 2).await;
    }
}

/// Runs a command in several processes at once. Each repeats it while another process holds the lock.
fn at_once(world: &World, s3: &str, commands: &[Vec<String>]) {
    let run = |command: &[String]| -> Ran {
        let arguments: Vec<&str> = command.iter().map(String::as_str).collect();
        let mut command = world.command(&arguments);
        command.env("AWS_ENDPOINT_URL_S3", s3);
        world.started(command).end()
    };
    std::thread::scope(|scope| {
        for command in commands {
            scope.spawn(move || {
                for _ in 0..200 {
                    let ran = run(command);
                    if ran.code == 0 {
                        return;
                    }
                    let contended = ["is locked by", "was changed by somebody else"];
                    assert!(contended.iter().any(|why| ran.stderr.contains(why)), "{}{}", ran.stdout, ran.stderr);
                }
                panic!("{command:?} never gets the lock");
            });
        }
    });
}

#[test]
fn concurrent_processes_do_their_work_once_and_lose_nothing() {
    let world = World::bare("unused");
    let s3 = store().unwrap_or_else(|| format!("http://{}", world.aws.address()));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (_client, bucket) = runtime.block_on(bucket_at(s3.clone(), "processes"));
    let names: Vec<String> = (0..6).map(|n| format!("r{n}")).collect();
    let roles: String = names
        .iter()
        .map(|name| {
            format!("  {name}: {{ account: own, name: {name}, trust: [ {{ service: ec2.amazonaws.com }} ] }}\n")
        })
        .collect();
    let spec = format!(
        "version: 1\nproject: race\nbackend: {{ s3: {{ bucket: {bucket}, account: own, lease_seconds: 8 }} }}\n\
         accounts:\n  own: {{ id: \"123456789012\", region: us-east-1 }}\nroles:\n{roles}"
    );
    world.spec(&spec);
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<String>>();
    let addresses = || names.iter().map(|name| format!("aws.iam.role.{name}"));
    at_once(&world, &s3, &vec![words(&["apply", "--yes"]); 5]);
    assert_eq!(world.aws.roles("123456789012"), names);
    assert_eq!(world.aws.count("iam", &["CreateRole"]), 6, "nothing is made twice");

    let moves = addresses().map(|a| words(&["state", "mv", &a, &format!("{a}-moved")]));
    at_once(&world, &s3, &moves.collect::<Vec<_>>());
    let mut list = world.command(&["state", "list"]);
    list.env("AWS_ENDPOINT_URL_S3", &s3);
    let moved = world.started(list).end().exits(0);
    let moved: Vec<&str> = moved.stdout.lines().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(moved, addresses().map(|a| format!("{a}-moved")).collect::<Vec<_>>());
}

//! What was acknowledged is there after `kill -9`.
//!
//! The test starts its own binary again as a child that writes and prints each acknowledgement,
//! kills it at some moment, opens the store and compares.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use futures::StreamExt;
use serde_json::json;

use super::support::{Fixture, LIMITS, WIDGETS, kinds, now, raw, version};
use crate::api::{ApiServer, Health};

const DIRECTORY: &str = "HEDDLE_TEST_DURABLE_DIRECTORY";
const ROUNDS: usize = 6;

/// Not a test of its own: the child. Without the variable there is nothing for it to do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child_that_writes_until_it_is_killed() {
    let Ok(dir) = std::env::var(DIRECTORY) else {
        return;
    };
    let api = ApiServer::open_with(dir.as_ref(), kinds(), now(), LIMITS).unwrap();
    // The directory is the parent's; the fixture only needs one to hold.
    let fixture = Fixture {
        api,
        dir: tempfile::tempdir().unwrap(),
    };
    let round = std::process::id();
    let (fixture, out) = (&fixture, &parking_lot::Mutex::new(std::io::stdout()));
    // Eight writers, each of which creates, changes and deletes without end.
    futures::stream::iter(0..8)
        .for_each_concurrent(None, |writer| async move {
            for n in 0.. {
                let name = format!("p{round}-{writer}-{n}");
                let mut body = raw(&name);
                body["spec"]["text"] = json!("x".repeat(n % 97 * 200));
                let (_, made) = fixture.post(WIDGETS, &body).await;
                say(out, &name, version(&made));
                let uri = format!("{WIDGETS}/{name}");
                if n % 3 == 1 {
                    let (_, changed) = fixture.merge(&uri, &json!({"spec": {"size": n}})).await;
                    say(out, &name, version(&changed));
                }
                if n % 3 == 2 {
                    say(out, &name, 0);
                    fixture.delete(&uri).await;
                    say(out, &name, 1);
                }
            }
        })
        .await;
}

/// One line: a version that was acknowledged; 0 before a deletion is asked for, 1 after it.
fn say(out: &parking_lot::Mutex<std::io::Stdout>, name: &str, version: u64) {
    let mut out = out.lock();
    writeln!(out, "ACK {name} {version}").unwrap();
    out.flush().unwrap();
}

#[tokio::test]
async fn a_failed_commit_stops_writes_and_is_told() {
    let fixture = super::support::fixture();
    fixture.post(WIDGETS, &raw("before")).await;
    assert_eq!(fixture.api.health(), Health::Good);
    std::fs::remove_dir_all(fixture.dir.path().join("blobs")).unwrap();
    let (code, status) = fixture.post(WIDGETS, &raw("during")).await;
    assert_eq!(
        (code.as_u16(), &status["reason"]),
        (500, &json!("InternalError"))
    );
    assert_eq!(
        fixture.get(&format!("{WIDGETS}/during")).await.0,
        404,
        "never visible"
    );
    assert_eq!(
        fixture.get(&format!("{WIDGETS}/before")).await.0,
        200,
        "reads go on"
    );
    assert_eq!(fixture.delete(&format!("{WIDGETS}/before")).await.0, 500);
    assert!(matches!(fixture.api.health(), Health::ReadOnly { .. }));
    assert_eq!(fixture.get("/readyz").await.0, 500);
    let fixture = super::support::reopen(fixture);
    assert_eq!(fixture.get(&format!("{WIDGETS}/before")).await.0, 200);
    assert_eq!(fixture.post(WIDGETS, &raw("after")).await.0, 201);
}

#[test]
fn one_process_at_a_time_has_the_store() {
    let fixture = super::support::fixture();
    let second = ApiServer::open_with(fixture.dir.path(), kinds(), now(), LIMITS).unwrap_err();
    assert!(
        second.to_string().contains("in use by another process"),
        "{second}"
    );
}

#[test]
fn acknowledged_writes_survive_kill_9() {
    let dir = tempfile::tempdir().unwrap();
    let mut acked: BTreeMap<String, u64> = BTreeMap::new();
    let mut highest = 0;
    let mut total = 0;
    for round in 0..ROUNDS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "--nocapture"])
            .arg("api::tests::durable::child_that_writes_until_it_is_killed")
            .env(DIRECTORY, dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut seen = 0;
        for line in lines.by_ref() {
            seen += note(&line.unwrap(), &mut acked, &mut highest);
            if seen > 150 + round * 117 {
                break;
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // What the child could still say before it died counts too; a line may be cut short.
        for line in lines.map_while(Result::ok) {
            seen += note(&line, &mut acked, &mut highest);
        }
        total += seen;
        assert!(seen > 100, "the child wrote only {seen}");
        compare(dir.path(), &acked, highest);
    }
    println!("{total} acknowledgements over {ROUNDS} kills, highest version {highest}");
}

fn note(line: &str, acked: &mut BTreeMap<String, u64>, highest: &mut u64) -> usize {
    let words: Vec<&str> = line.split_whitespace().collect();
    // The harness of the child may print before it on the same line.
    let Some(at) = words.iter().position(|word| *word == "ACK") else {
        return 0;
    };
    let [name, version] = words[at + 1..] else {
        return 0;
    };
    let Ok(version) = version.parse() else {
        return 0;
    };
    // A version that is cut short would be lower than one that was seen before.
    if version > 1 && acked.get(name).is_some_and(|v| *v >= version) {
        return 0;
    }
    acked.insert(name.to_owned(), version);
    *highest = (*highest).max(version);
    1
}

fn compare(dir: &std::path::Path, acked: &BTreeMap<String, u64>, highest: u64) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let api = ApiServer::open_with(dir, kinds(), now(), LIMITS).unwrap();
    let fixture = Fixture {
        api,
        dir: tempfile::tempdir().unwrap(),
    };
    let (_, list) = runtime.block_on(fixture.get(WIDGETS));
    assert!(
        version(&list) >= highest,
        "the counter went back to {}",
        version(&list)
    );
    let stored: BTreeMap<&str, u64> = list["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| (item["metadata"]["name"].as_str().unwrap(), version(item)))
        .collect();
    for (name, acked) in acked {
        let stored = stored.get(name.as_str()).copied();
        match acked {
            0 => {} // A deletion was under way: both are right.
            1 => assert_eq!(stored, None, "{name} was deleted"),
            // A later change may have become durable without being acknowledged.
            acked => assert!(stored >= Some(*acked), "{name}: {stored:?} < {acked}"),
        }
    }
    let mut versions: Vec<u64> = stored.values().copied().collect();
    versions.sort_unstable();
    assert!(
        versions.windows(2).all(|pair| pair[0] < pair[1]),
        "a version was given twice"
    );
}

#[tokio::test]
async fn what_is_stored_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("above/api");
    for _ in 0..2 {
        let api = ApiServer::open_with(&path, kinds(), now(), LIMITS).unwrap();
        api.close();
        drop(api);
        let mode =
            |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o700);
        assert_eq!(mode(&path.join("db")), 0o600);
        for entry in std::fs::read_dir(&path).unwrap() {
            let path = entry.unwrap().path();
            let wanted = if path.is_dir() { 0o700 } else { 0o600 };
            assert_eq!(mode(&path), wanted, "{}", path.display());
        }
        // A store of an older version is closed too.
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        std::fs::set_permissions(path.join("db"), std::fs::Permissions::from_mode(0o644)).unwrap();
    }
}

//! The CloudEvents conformance scenarios for the HTTP binding.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use bytes::Bytes;
use heddle_broker::event::http::{Decoded, decode, encode_binary};
use http::{HeaderMap, HeaderName};

/// The scenarios of the CloudEvents conformance suite for the HTTP binding.
#[test]
fn http_conformance_scenarios() {
    let Some(folder) = std::env::var_os("HEDDLE_CONFORMANCE_DATA") else {
        eprintln!("skipped: HEDDLE_CONFORMANCE_DATA names no folder with the scenarios");
        return;
    };
    let file =
        std::path::Path::new(&folder).join("cloudevents_features/http-protocol-binding.feature");
    let feature = std::fs::read_to_string(file).unwrap();
    let mut run = 0;
    for outline in feature.split("Scenario Outline:").skip(1) {
        let (body, examples) = outline.split_once("Examples:").unwrap();
        for row in examples
            .lines()
            .filter_map(|line| line.trim().strip_prefix('|'))
            .skip(1)
        {
            let content_type = row.trim_end_matches('|').trim();
            scenario(&body.replace("<contentType>", content_type));
            run += 1;
        }
    }
    assert_eq!(run, 4);
}

fn scenario(text: &str) {
    let blocks: Vec<&str> = text.split("\"\"\"").collect();
    let indent = "        ";
    let request: Vec<&str> = blocks[1]
        .lines()
        .skip(1)
        .map(|line| line.strip_prefix(indent).unwrap_or(line))
        .collect();
    let blank = request
        .iter()
        .position(|line| line.trim().is_empty())
        .unwrap();
    let mut map = HeaderMap::new();
    for line in &request[1..blank] {
        let (name, value) = line.split_once(':').unwrap();
        map.append(
            HeaderName::try_from(name).unwrap(),
            value.trim().parse().unwrap(),
        );
    }
    let body = Bytes::from(request[blank + 1..].join("\n"));
    let Decoded::One(draft) = decode(&map, &body).unwrap() else {
        panic!("a batch")
    };
    let event = draft.finish().unwrap();
    let rows = blocks[2]
        .lines()
        .filter_map(|line| line.trim().strip_prefix('|'))
        .skip(1);
    let mut checked = 0;
    for row in rows {
        let mut cells = row.split('|').map(str::trim);
        let (name, value) = (cells.next().unwrap(), cells.next().unwrap());
        assert_eq!(event.attribute(name).map(|a| a.text), Some(value), "{name}");
        checked += 1;
    }
    assert_eq!(checked, 6);
    let value = |bytes: &[u8]| serde_json::from_slice::<serde_json::Value>(bytes).unwrap();
    assert_eq!(
        value(&encode_binary(&event, &[]).1),
        value(blocks[3].as_bytes())
    );
}

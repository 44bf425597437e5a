//! `sched next --batch`: order, bad lines, limits, speed.

use std::io::{BufRead, BufReader, Write};
use std::sync::mpsc;
use std::thread;
use std::time::Instant;

use serde_json::{Value, json};

use crate::program::{DEADLINE, run_with, spawn};

fn answers(input: &[u8]) -> Vec<Value> {
    let ended = run_with(&["next", "--batch"], input, &[]);
    assert_eq!((ended.status, ended.stderr.as_str()), (Some(0), ""));
    ended.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn line(request: &Value) -> Vec<u8> {
    let mut line = serde_json::to_vec(request).unwrap();
    line.push(b'\n');
    line
}

fn request(id: impl Into<Value>, trigger: Value, timezone: Option<&str>, count: u32) -> Value {
    let now = "2026-03-28T00:00:00Z";
    let id = id.into();
    json!({ "id": id, "trigger": trigger, "timezone": timezone, "previous": null, "now": now, "count": count })
}

#[test]
fn fire_times_are_walked_and_shown_in_the_zone_of_the_line() {
    let berlin = Some("Europe/Berlin");
    let hour = json!({ "type": "cron", "hour": 9 });
    let tokyo = json!({ "type": "cron", "hour": 9, "timezone": "Asia/Tokyo" });
    let half = json!({ "type": "date", "run_date": "2026-04-01T00:00:00.5Z" });
    let both = json!({ "type": "or", "triggers": [hour, { "type": "cron", "hour": 10 }] });
    let short = json!({ "type": "interval", "hours": 12, "end_date": "2026-03-28T12:00:00Z" });
    let cases = [
        (
            request(1, hour.clone(), berlin, 2),
            json!(["2026-03-28T09:00:00+01:00", "2026-03-29T09:00:00+02:00"]),
            false,
        ),
        (request("b", hour.clone(), None, 1), json!(["2026-03-28T09:00:00+00:00"]), false),
        (request(3, tokyo, berlin, 1), json!(["2026-03-28T09:00:00+09:00"]), false),
        (request(4, half, berlin, 9), json!(["2026-04-01T02:00:00.500000+02:00"]), true),
        (
            request(5, both, berlin, 2),
            json!(["2026-03-28T09:00:00+01:00", "2026-03-28T10:00:00+01:00"]),
            false,
        ),
        (request(6, short.clone(), berlin, 1), json!(["2026-03-28T13:00:00+01:00"]), false),
        (request(7, short, berlin, 2), json!(["2026-03-28T13:00:00+01:00"]), true),
        (request(Value::Null, hour, None, 0), json!([]), false),
    ];
    let input: Vec<u8> = cases.iter().flat_map(|(request, ..)| line(request)).collect();
    let expected = cases.iter().map(
        |(request, fires, exhausted)| json!({ "id": request["id"], "fires": fires, "exhausted": exhausted }),
    );
    assert_eq!(answers(&input), expected.collect::<Vec<_>>());
}

#[test]
fn a_previous_fire_time_is_gone_on_from() {
    let mut request = request(1, json!({ "type": "interval", "hours": 5 }), None, 2);
    request["previous"] = json!("2026-03-28T01:00:00+01:00");
    assert_eq!(
        answers(&line(&request))[0]["fires"],
        json!(["2026-03-28T05:00:00+00:00", "2026-03-28T10:00:00+00:00"])
    );
}

#[test]
fn a_bad_line_is_answered_in_its_place_and_the_next_is_read() {
    let good = line(&request("good", json!({ "type": "cron", "hour": 9 }), None, 1));
    let long = format!("{{\"id\":\"{}\"}}\n", "x".repeat(3 * 1024 * 1024));
    let cases: &[(&[u8], Value, &str, &str)] = &[
        (b"{\n", json!(null), "bad_line", "not JSON"),
        (b"\n", json!(null), "bad_line", "not JSON"),
        (b"\xff\xfe\n", json!(null), "bad_line", "not JSON"),
        (b"[1]\n", json!(null), "bad_line", "expected a JSON object"),
        (long.as_bytes(), json!(null), "bad_line", "longer than"),
        (b"{\"id\":1}\n", json!(1), "bad_line", "trigger: missing"),
        (b"{\"id\":[2],\"trigger\":5}\n", json!([2]), "invalid_config", "trigger: expected a table"),
        (b"{\"id\":3,\"trigger\":{}}\n", json!(3), "invalid_config", "\"type\""),
        (b"{\"id\":4,\"trigger\":{\"type\":\"x\"}}\n", json!(4), "invalid_config", "no trigger by the name"),
        (
            b"{\"id\":5,\"trigger\":{\"type\":\"cron\",\"hour\":\"25\"}}\n",
            json!(5),
            "invalid_config",
            "trigger.hour",
        ),
        (
            b"{\"id\":6,\"trigger\":{\"type\":\"date\"},\"timezone\":\"x\"}\n",
            json!(6),
            "invalid_config",
            "time zone",
        ),
        (
            b"{\"id\":7,\"trigger\":{\"type\":\"date\"},\"now\":\"x\"}\n",
            json!(7),
            "bad_line",
            "now: invalid date",
        ),
        (
            b"{\"id\":8,\"trigger\":{\"type\":\"date\"},\"previous\":5}\n",
            json!(8),
            "bad_line",
            "previous: expected text",
        ),
        (
            b"{\"id\":9,\"trigger\":{\"type\":\"date\"},\"count\":-1}\n",
            json!(9),
            "bad_line",
            "count: expected",
        ),
        (
            b"{\"id\":10,\"trigger\":{\"type\":\"date\"},\"count\":1e9}\n",
            json!(10),
            "bad_line",
            "count: expected",
        ),
    ];
    let input: Vec<u8> = cases.iter().flat_map(|(bad, ..)| [*bad, &good].concat()).collect();
    let answers = answers(&input);
    assert_eq!(answers.len(), 2 * cases.len());
    for (pair, (bad, id, kind, message)) in answers.chunks(2).zip(cases) {
        let shown = String::from_utf8_lossy(&bad[..bad.len().min(60)]).into_owned();
        assert_eq!((&pair[0]["id"], &pair[0]["error"]["kind"]), (id, &json!(kind)), "{shown}: {}", pair[0]);
        assert!(pair[0]["error"]["message"].as_str().unwrap().contains(message), "{shown}: {}", pair[0]);
        assert_eq!(pair[1]["id"], "good", "after {shown}");
    }
}

#[test]
fn many_lines_are_answered_in_order_and_soon() {
    const LINES: usize = 5_000;
    let trigger = json!({ "type": "cron", "minute": "*/7", "day_of_week": "mon-fri", "hour": "9-17" });
    let input: Vec<u8> =
        (0..LINES).flat_map(|id| line(&request(id, trigger.clone(), Some("Europe/Berlin"), 12))).collect();
    let begun = Instant::now();
    let answers = answers(&input);
    assert!(begun.elapsed() < DEADLINE, "{LINES} lines took {:?}", begun.elapsed());
    assert_eq!(answers.len(), LINES);
    for (index, answer) in answers.iter().enumerate() {
        assert_eq!(
            (&answer["id"], answer["fires"].as_array().unwrap().len()),
            (&json!(index), 12),
            "{answer}"
        );
    }
}

#[test]
fn whoever_asks_line_by_line_is_answered_line_by_line() {
    let mut child = spawn(&["next", "--batch"]);
    let (mut stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let (sender, lines) = mpsc::channel();
    let reading = thread::spawn(move || {
        BufReader::new(stdout).lines().for_each(|line| sender.send(line.unwrap()).unwrap())
    });
    for id in 0..3 {
        // Half of the next request is there already, and must not keep the answer back.
        stdin.write_all(&line(&request(id, json!({ "type": "cron", "hour": 9 }), None, 1))).unwrap();
        stdin.write_all(b"  ").unwrap();
        let answer: Value = serde_json::from_str(&lines.recv_timeout(DEADLINE).unwrap()).unwrap();
        assert_eq!(answer["id"], id);
    }
    drop(stdin);
    assert!(child.wait().unwrap().success());
    reading.join().unwrap();
}

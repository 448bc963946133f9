//! The names of the fields that the runner knows.

use serde_json::Value;

/// What is said about a scenario and does not change what is run.
const INFORMATION: [&str; 9] =
    ["also_accept", "area", "differs_on_cpython", "differs_on_uvloop", "expect", "name", "note", "rules", "title"];

/// Everything else.
const FIELDS: [&str; 63] = [
    "argv",
    "buffer_size",
    "conn",
    "count",
    "cwd",
    "data",
    "do",
    "empty_buffer",
    "env",
    "event",
    "fallback",
    "fd",
    "gone",
    "high",
    "high_rel",
    "idle_ms",
    "kind",
    "list",
    "low",
    "low_rel",
    "lt",
    "method",
    "ms",
    "n",
    "no_ca",
    "nosettle",
    "nth",
    "offset",
    "on",
    "op",
    "options",
    "pattern",
    "peer",
    "peer_mode",
    "peer_rcvbuf",
    "pipe",
    "proto",
    "protocol",
    "protocols",
    "python_only",
    "quiet",
    "reactions",
    "refuse",
    "return",
    "server_hostname",
    "server_side",
    "shell",
    "signal",
    "spawn",
    "ssl_handshake_timeout",
    "ssl_shutdown_timeout",
    "start_serving",
    "stderr",
    "stdin",
    "stdout",
    "steps",
    "text",
    "timeout_ms",
    "to",
    "total",
    "type",
    "unordered",
    "what",
];

/// The fields of a scenario that the runner knows nothing of: it performs the scenario as if they were not there.
pub(super) fn unknown_fields(file: &Value) -> Vec<String> {
    let mut unknown = Vec::new();
    for (name, value) in file.as_object().into_iter().flatten() {
        if !INFORMATION.contains(&name.as_str()) {
            visit(name, value, &mut unknown);
        }
    }
    unknown
}

fn visit(name: &str, value: &Value, unknown: &mut Vec<String>) {
    if !FIELDS.contains(&name) {
        return unknown.push(name.to_owned());
    }
    match value {
        Value::Array(elements) => elements.iter().for_each(|element| visit_all(element, unknown)),
        // Names that the scenario makes up.
        Value::Object(map) if name == "protocols" => map.values().for_each(|value| visit_all(value, unknown)),
        Value::Object(_) if name != "env" => visit_all(value, unknown),
        _ => {}
    }
}

fn visit_all(value: &Value, unknown: &mut Vec<String>) {
    value.as_object().into_iter().flatten().for_each(|(name, value)| visit(name, value, unknown));
}

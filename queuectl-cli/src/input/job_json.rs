//! A job as a JSON object. Every field is known and typed, none may occur twice, and whatever is
//! wrong is named.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::time::Duration;

use queuectl_core::shell::{Program, SHELL_KIND};
use queuectl_core::{
    After, AfterBatch, BackoffPolicy, Condition, JSON_LEN_MAX, JobId, Json, Name, Start,
    UniqueScope,
};
use serde::Deserializer;
use serde::de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use super::job_spec::{CRASHES_MAX, JobSpec, RETRIES_MAX};
use super::unique;
use super::when::{When, after, delay_of_seconds, duration};
use super::{Refused, nearest};

/// How deep arrays and objects may be nested.
const DEPTH_MAX: usize = 64;

/// The longest text of one job: the largest payload, and room for the rest.
pub(crate) const JOB_TEXT_LEN_MAX: usize = 2 * JSON_LEN_MAX;

/// The fields that a job may have; the last four are read and ignored.
const FIELDS: [&str; 33] = [
    "id",
    "command",
    "argv",
    "queue",
    "kind",
    "payload",
    "priority",
    "max_retries",
    "max_crashes",
    "run_at",
    "scheduled_at",
    "delay",
    "expires",
    "expires_at",
    "timeout",
    "backoff",
    "env",
    "cwd",
    "unique_key",
    "unique_for",
    "unique_while",
    "on_conflict",
    "concurrency_key",
    "after",
    "after_batches",
    "batch",
    "needs",
    "otherwise",
    "tags",
    "state",
    "attempts",
    "created_at",
    "updated_at",
];

/// Reads a job. Times are read by `when`.
pub(crate) fn parse(text: &str, when: &When) -> Result<JobSpec, Refused> {
    if text.len() > JOB_TEXT_LEN_MAX {
        return Err(Refused::new(format!(
            "the job has {} bytes of JSON; the limit is {JOB_TEXT_LEN_MAX}",
            text.len()
        )));
    }
    if !text.trim_start().starts_with('{') {
        return Err(Refused::new("this is not a JSON object: it does not begin with {"));
    }
    check(text)?;
    let fields: Fields = serde_json::from_str(text).map_err(|error| broken(text, &error))?;
    let mut reader = Reader { spec: JobSpec::default(), when, starts: Vec::new() };
    for (name, value) in &fields.0 {
        reader.field(name, value)?;
    }
    reader.finish()
}

/// Takes up one field after the other.
struct Reader<'a> {
    spec: JobSpec,
    when: &'a When,
    /// Which fields have said when the job may run.
    starts: Vec<(&'static str, Start)>,
}

impl Reader<'_> {
    fn field(&mut self, name: &str, raw: &RawValue) -> Result<(), Refused> {
        let spec = &mut self.spec;
        let text = raw.get();
        if name == "payload" {
            // Kept to the letter: numbers of any size and the order of fields are the handler's.
            spec.payload =
                Some(Json::parse(text).map_err(|error| Refused::new(error.to_string()))?);
            return Ok(());
        }
        let value: Value = serde_json::from_str(text).map_err(|error| broken(text, &error))?;
        // Programs write what they do not know as null: it asks for nothing.
        if value.is_null() && FIELDS.contains(&name) {
            return Ok(());
        }
        match name {
            "id" => spec.id = Some(parsed(name, &value)?),
            "command" => self.program(name, Program::Command(string(name, &value)?))?,
            "argv" => self.program(name, Program::Argv(strings(name, &value)?))?,
            "queue" => spec.queue = Some(parsed(name, &value)?),
            "kind" => spec.kind = Some(parsed(name, &value)?),
            "priority" => {
                spec.priority = Some(whole(name, &value, i16::MIN.into(), i16::MAX.into())? as i16);
            }
            "max_retries" => {
                spec.max_retries = Some(whole(name, &value, 0, RETRIES_MAX.into())? as u32);
            }
            "max_crashes" => {
                let crashes = whole(name, &value, 1, CRASHES_MAX.into())? as u32;
                spec.max_crashes = NonZeroU32::new(crashes);
            }
            "run_at" => self.start("run_at", &value)?,
            "scheduled_at" => self.start("scheduled_at", &value)?,
            "delay" => {
                self.starts.push(("delay", after(span(name, &value)?)));
            }
            "expires" => self.expiry("expires", &value)?,
            "expires_at" => self.expiry("expires_at", &value)?,
            "timeout" => spec.timeout = Some(span(name, &value)?),
            "backoff" => spec.backoff = Some(backoff(&value)?),
            "env" => spec.env = env(&value)?,
            "cwd" => spec.cwd = Some(string(name, &value)?),
            "unique_key" => spec.unique_key = Some(string(name, &value)?),
            "unique_for" => {
                let period = unique::period(span(name, &value)?);
                self.unique_scope(period.map_err(|refused| within(name, refused))?)?;
            }
            "unique_while" => {
                let states = match &value {
                    Value::String(one) => unique::states(&[one]),
                    _ => unique::states(&strings(name, &value)?),
                };
                self.unique_scope(states.map_err(|refused| within(name, refused))?)?;
            }
            "on_conflict" => {
                let policy = unique::policy(&string(name, &value)?);
                spec.on_conflict = Some(policy.map_err(|refused| within(name, refused))?);
            }
            "concurrency_key" => spec.concurrency_key = Some(string(name, &value)?),
            "after" => spec.after = after_all(name, &value)?,
            "after_batches" => spec.after_batches = after_batches(name, &value)?,
            "batch" => spec.batch = Some(parsed(name, &value)?),
            "needs" => spec.needs = Some(parsed(name, &value)?),
            "otherwise" => spec.otherwise = Some(parsed(name, &value)?),
            "tags" => spec.tags = parsed_all::<Name>(name, &value)?,
            "state" if value == "pending" => {}
            "state" => {
                return Err(Refused::new(format!("state: a new job is \"pending\", not {value}")));
            }
            "attempts" if value.as_f64() == Some(0.0) => {}
            "attempts" => {
                return Err(Refused::new(format!("attempts: a new job has had 0, not {value}")));
            }
            "created_at" | "updated_at" => {}
            _ => return Err(unknown(name)),
        }
        Ok(())
    }

    fn program(&mut self, name: &str, program: Program) -> Result<(), Refused> {
        if self.spec.program.replace(program).is_some() {
            return Err(Refused::new(format!(
                "{name}: a job has either a command or an argv, not both"
            )));
        }
        Ok(())
    }

    fn start(&mut self, name: &'static str, value: &Value) -> Result<(), Refused> {
        let start = match value {
            Value::String(text) => self.when.start(text),
            Value::Number(number) => self.when.start_in_seconds(number.as_f64().unwrap_or(-1.0)),
            _ => {
                return Err(wrong_type(name, "a moment, a duration or a number of seconds", value));
            }
        };
        self.starts.push((name, start.map_err(|refused| within(name, refused))?));
        Ok(())
    }

    fn unique_scope(&mut self, scope: UniqueScope) -> Result<(), Refused> {
        if self.spec.unique_scope.replace(scope).is_some() {
            return Err(Refused::new(
                "unique_for and unique_while: a key is held either for a time or in states",
            ));
        }
        Ok(())
    }

    fn expiry(&mut self, name: &'static str, value: &Value) -> Result<(), Refused> {
        let expiry = match value {
            Value::String(text) => self.when.expiry(text),
            Value::Number(number) => self.when.expiry_in_seconds(number.as_f64().unwrap_or(-1.0)),
            _ => {
                return Err(wrong_type(name, "a moment, a duration or a number of seconds", value));
            }
        };
        let expiry = expiry.map_err(|refused| within(name, refused))?;
        if self.spec.expiry.replace(expiry).is_some_and(|other| other != expiry) {
            return Err(Refused::new("expires and expires_at say two different times"));
        }
        Ok(())
    }

    fn finish(mut self) -> Result<JobSpec, Refused> {
        if let [(first, start), rest @ ..] = self.starts.as_slice() {
            if let Some((other, _)) = rest.iter().find(|(_, other)| other != start) {
                return Err(Refused::new(format!("{first} and {other} say two different times")));
            }
            self.spec.start = Some(*start);
        }
        let shell = self.spec.kind.as_ref().is_none_or(|kind| kind.as_str() == SHELL_KIND);
        if shell && self.spec.program.is_none() && self.spec.payload.is_none() {
            return Err(
                Refused::new("the job has no command").hint(r#"write {"command": "echo hello"}"#)
            );
        }
        Ok(self.spec)
    }
}

fn unknown(name: &str) -> Refused {
    let refused = Refused::new(format!("a job has no field {name:?}"));
    let meant = match name {
        "retries" | "max-retries" | "maxRetries" => Some("max_retries"),
        "cmd" => Some("command"),
        "args" => Some("argv"),
        "name" | "job_id" => Some("id"),
        "tag" => Some("tags"),
        "at" => Some("run_at"),
        "dir" | "directory" | "workdir" => Some("cwd"),
        "depends_on" | "dependencies" => Some("after"),
        _ => nearest(name, FIELDS),
    };
    refused.hint(match meant {
        Some(field) => format!("{field:?} is one"),
        None => format!("its fields are {}", FIELDS[..FIELDS.len() - 4].join(", ")),
    })
}

fn within(name: &str, refused: Refused) -> Refused {
    Refused { sentence: format!("{name}: {}", refused.sentence), ..refused }
}

fn wrong_type(name: &str, wanted: &str, value: &Value) -> Refused {
    let found = match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    };
    Refused::new(format!("{name}: wanted {wanted}, found {found}"))
}

fn string(name: &str, value: &Value) -> Result<String, Refused> {
    match value {
        Value::String(text) => Ok(text.clone()),
        _ => Err(wrong_type(name, "a string", value)),
    }
}

fn parsed<T>(name: &str, value: &Value) -> Result<T, Refused>
where
    T: FromStr<Err: fmt::Display>,
{
    string(name, value)?.parse().map_err(|error: T::Err| Refused::new(format!("{name}: {error}")))
}

fn strings(name: &str, value: &Value) -> Result<Vec<String>, Refused> {
    match value {
        Value::Array(items) => items.iter().map(|item| string(name, item)).collect(),
        _ => Err(wrong_type(name, "an array of strings", value)),
    }
}

/// An array of names, or a single one.
fn parsed_all<T>(name: &str, value: &Value) -> Result<Vec<T>, Refused>
where
    T: FromStr<Err: fmt::Display>,
{
    match value {
        Value::Array(items) => items.iter().map(|item| parsed(name, item)).collect(),
        Value::String(_) => Ok(vec![parsed(name, value)?]),
        _ => Err(wrong_type(name, "an array of strings", value)),
    }
}

/// The jobs that a job waits for: one, or an array; each by its id, or as `{"job": ID, "on": CONDITION}`.
fn after_all(name: &str, value: &Value) -> Result<Vec<After>, Refused> {
    let parents = parents::<JobId>(name, "job", "ids of jobs", value)?;
    Ok(parents.into_iter().map(|(job, on)| After { job, on }).collect())
}

/// The batches that a job waits for, in the same forms.
fn after_batches(name: &str, value: &Value) -> Result<Vec<AfterBatch>, Refused> {
    let parents = parents::<Name>(name, "batch", "names of batches", value)?;
    Ok(parents.into_iter().map(|(batch, on)| AfterBatch { batch, on }).collect())
}

fn parents<T>(
    name: &str,
    what: &str,
    wanted: &str,
    value: &Value,
) -> Result<Vec<(T, Condition)>, Refused>
where
    T: FromStr<Err: fmt::Display>,
{
    let one = |value: &Value| -> Result<(T, Condition), Refused> {
        let Value::Object(fields) = value else {
            return Ok((parsed(name, value)?, Condition::Success));
        };
        let field = |field: &str| fields.get(field).filter(|value| !value.is_null());
        if let Some(other) = fields.keys().find(|field| ![what, "on"].contains(&field.as_str())) {
            return Err(Refused::new(format!("{name}: there is no field {other:?}"))
                .hint(format!(r#"write {{"{what}": "build", "on": "failure"}}"#)));
        }
        let parent =
            field(what).ok_or_else(|| Refused::new(format!("{name}: there is no {what}")))?;
        let on = field("on").map(|on| parsed(&format!("{name}.on"), on)).transpose()?;
        Ok((parsed(&format!("{name}.{what}"), parent)?, on.unwrap_or_default()))
    };
    match value {
        Value::Array(items) => items.iter().map(one).collect(),
        Value::String(_) | Value::Object(_) => Ok(vec![one(value)?]),
        _ => Err(wrong_type(name, wanted, value)),
    }
}

fn whole(name: &str, value: &Value, min: i64, max: i64) -> Result<i64, Refused> {
    let wanted = format!("a whole number from {min} to {max}");
    let Value::Number(number) = value else {
        return Err(wrong_type(name, &wanted, value));
    };
    number
        .as_i64()
        .filter(|number| (min..=max).contains(number))
        .ok_or_else(|| Refused::new(format!("{name}: wanted {wanted}, found {number}")))
}

fn span(name: &str, value: &Value) -> Result<Duration, Refused> {
    match value {
        Value::String(text) => duration(text),
        Value::Number(number) => delay_of_seconds(number.as_f64().unwrap_or(-1.0)),
        _ => return Err(wrong_type(name, "a duration or a number of seconds", value)),
    }
    .map_err(|refused| within(name, refused))
}

/// A policy as text, or the base of the exponential one as a number.
fn backoff(value: &Value) -> Result<BackoffPolicy, Refused> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(base) => format!("exponential:{base}"),
        _ => {
            return Err(wrong_type("backoff", "a string such as \"constant:30s\"", value));
        }
    };
    text.parse().map_err(|error| Refused::new(format!("backoff: {error}")))
}

fn env(value: &Value) -> Result<BTreeMap<String, String>, Refused> {
    let Value::Object(entries) = value else {
        return Err(wrong_type("env", "an object of strings", value));
    };
    entries
        .iter()
        .map(|(name, value)| Ok((name.clone(), string(&format!("env.{name}"), value)?)))
        .collect()
}

/// The fields of an object, in order, with their values as they are written.
struct Fields(Vec<(String, Box<RawValue>)>);

impl<'de> serde::Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Fields;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

/// Whether the text is JSON in which no object has a field twice and nothing is nested too deep.
fn check(text: &str) -> Result<(), Refused> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    Checked { depth: 0 }
        .deserialize(&mut deserializer)
        .and_then(|()| deserializer.end())
        .map_err(|error| broken(text, &error))
}

/// Reads any value and keeps nothing of it.
#[derive(Clone, Copy)]
struct Checked {
    depth: usize,
}

impl Checked {
    fn deeper<E: serde::de::Error>(self) -> Result<Self, E> {
        if self.depth == DEPTH_MAX {
            return Err(E::custom(format_args!("nested more than {DEPTH_MAX} levels deep")));
        }
        Ok(Checked { depth: self.depth + 1 })
    }
}

impl<'de> DeserializeSeed<'de> for Checked {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Checked {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let inner = self.deeper()?;
        let mut names = BTreeSet::new();
        while let Some(name) = map.next_key::<String>()? {
            map.next_value_seed(inner)?;
            if let Some(name) = names.replace(name) {
                return Err(A::Error::custom(format_args!("the field {name:?} occurs twice")));
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let inner = self.deeper()?;
        while seq.next_element_seed(inner)?.is_some() {}
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }
}

/// Says where the JSON is broken, and shows the place.
fn broken(text: &str, error: &serde_json::Error) -> Refused {
    let said = error.to_string();
    let said = said.split(" at line ").next().unwrap_or(&said);
    let line = text.lines().nth(error.line().saturating_sub(1)).unwrap_or("");
    // The column counts bytes, from 1 on; it may lie behind the end.
    let mut place = error.column().saturating_sub(1).min(line.len());
    while !line.is_char_boundary(place) {
        place -= 1;
    }
    let before: String = line[..place].chars().rev().take(30).collect();
    let before: String = before.chars().rev().collect();
    let after: String = line[place..].chars().take(30).collect();
    let sentence = match error.line() {
        0 | 1 => format!("the JSON is broken at column {}: {said}", error.column()),
        number => format!("the JSON is broken at line {number}, column {}: {said}", error.column()),
    };
    // Shown escaped, so that the mark below stands at the right place.
    let shown = |part: &str| crate::output::display::line(part).to_string();
    let indent = crate::output::display::width(&shown(&before));
    Refused::new(sentence).hint(format!(
        "look here:\n  {}{}\n  {}^",
        shown(&before),
        shown(&after),
        " ".repeat(indent)
    ))
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;
    use queuectl_core::Timestamp;

    use super::*;

    fn when() -> When {
        When::new(Timestamp::from_millis(1_800_000_000_000), TimeZone::UTC)
    }

    fn read(text: &str) -> JobSpec {
        parse(text, &when()).unwrap_or_else(|refused| panic!("{text}: {refused:?}"))
    }

    fn refused(text: &str) -> String {
        let refused = parse(text, &when()).expect_err(text);
        format!("{} | {}", refused.sentence, refused.hint.unwrap_or_default())
    }

    #[test]
    fn the_documented_object_is_read() {
        let spec = read(r#"{"id":"job1","command":"sleep 2","max_retries":3}"#);
        assert_eq!(spec.id, Some("job1".parse().unwrap()));
        assert_eq!(spec.program, Some(Program::Command("sleep 2".to_owned())));
        assert_eq!(spec.max_retries, Some(3));
    }

    #[test]
    fn every_field_is_read() {
        let spec = read(
            r#"{"id":"a","argv":["ls","-l"],"queue":"mail","priority":-7,"max_retries":0,
                "delay":"90s","timeout":1.5,"backoff":"constant:30s","env":{"A":"b"},"cwd":"/srv",
                "unique_key":"k","after":["q1","b"],"tags":["x"],"state":"pending","attempts":0,
                "created_at":"2026-01-01","updated_at":17}"#,
        );
        assert_eq!(spec.program, Some(Program::Argv(vec!["ls".into(), "-l".into()])));
        assert_eq!(spec.priority, Some(-7));
        assert_eq!(spec.start, Some(Start::In(Duration::from_secs(90))));
        assert_eq!(spec.timeout, Some(Duration::from_millis(1500)));
        assert_eq!(spec.backoff, Some("constant:30s".parse().unwrap()));
        assert_eq!(spec.env["A"], "b");
        assert_eq!(spec.after.len(), 2);
        assert_eq!(spec.tags.len(), 1);
    }

    #[test]
    fn a_payload_is_kept_to_the_letter() {
        let spec = read(r#"{"kind":"email","payload":{"b":1,"a":123456789012345678901234567890}}"#);
        assert_eq!(spec.payload.unwrap().as_str(), r#"{"b":1,"a":123456789012345678901234567890}"#);
    }

    #[test]
    fn numbers_stand_for_seconds() {
        let start = |text: &str| read(&format!(r#"{{"command":"x",{text}}}"#)).start;
        let seconds = |count| Some(Start::In(Duration::from_secs(count)));
        assert_eq!(start(r#""delay":5"#), seconds(5));
        assert_eq!(start(r#""delay":"5""#), seconds(5));
        assert_eq!(start(r#""run_at":5"#), seconds(5));
        assert_eq!(start(r#""scheduled_at":"5m""#), seconds(300));
        assert_eq!(start(r#""delay":0"#), Some(Start::Now));
        assert_eq!(
            start(r#""run_at":1900000000"#),
            Some(Start::At(Timestamp::from_millis(1_900_000_000_000)))
        );
        assert_eq!(start(r#""run_at":null"#), None);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let cases = [
            (r#"{"comand":"x"}"#, r#"no field "comand" | "command""#),
            (r#"{"command":"x","retries":3}"#, r#""max_retries" is one"#),
            (r#"{"command":"x","colour":3}"#, "its fields are id, command"),
            (r#"{"command":7}"#, "command: wanted a string, found a number"),
            (r#"{"command":["x"]}"#, "command: wanted a string, found an array"),
            (r#"{"argv":"ls"}"#, "argv: wanted an array of strings, found a string"),
            (r#"{"argv":["ls",1]}"#, "argv: wanted a string, found a number"),
            (r#"{"id":1,"command":"x"}"#, "id: wanted a string, found a number"),
            (r#"{"id":"a b","command":"x"}"#, "id: \"a b\" is not a name"),
            (r#"{"id":"","command":"x"}"#, "id: \"\" is not a name"),
            (
                r#"{"command":"x","max_retries":-1}"#,
                "max_retries: wanted a whole number from 0 to 1000000, found -1",
            ),
            (r#"{"command":"x","max_retries":1.5}"#, "found 1.5"),
            (
                r#"{"command":"x","max_crashes":0}"#,
                "max_crashes: wanted a whole number from 1 to 1000000, found 0",
            ),
            (r#"{"command":"x","max_retries":"3"}"#, "found a string"),
            (r#"{"command":"x","max_retries":1000001}"#, "found 1000001"),
            (r#"{"command":"x","max_retries":99999999999999999999}"#, "max_retries"),
            (r#"{"command":"x","priority":32768}"#, "from -32768 to 32767"),
            (r#"{"command":"x","delay":-1}"#, "delay: -1"),
            (r#"{"command":"x","delay":"soon"}"#, "delay: \"soon\" is not a duration"),
            (r#"{"command":"x","run_at":"yesterday"}"#, "run_at: \"yesterday\""),
            (r#"{"command":"x","run_at":true}"#, "run_at: wanted a moment"),
            (r#"{"command":"x","delay":1,"run_at":2}"#, "two different times"),
            (r#"{"command":"x","timeout":{}}"#, "timeout: wanted a duration"),
            (r#"{"command":"x","backoff":"cubic"}"#, "backoff: \"cubic\""),
            (r#"{"command":"x","env":{"A":1}}"#, "env.A: wanted a string"),
            (r#"{"command":"x","env":["A"]}"#, "env: wanted an object"),
            (r#"{"command":"x","state":"completed"}"#, "state: a new job is \"pending\""),
            (r#"{"command":"x","attempts":2}"#, "attempts: a new job has had 0"),
            (r#"{"command":"x","argv":["x"]}"#, "either a command or an argv"),
            (r#"{}"#, "the job has no command"),
            (r#"{"command":null}"#, "the job has no command"),
            (r#"[1]"#, "a JSON object"),
            (r#""x""#, "a JSON object"),
            (r#"{"command":"x","command":"y"}"#, "\"command\" occurs twice"),
            (r#"{"kind":"k","payload":{"a":[{"b":1,"b":2}]}}"#, "\"b\" occurs twice"),
        ];
        for (text, said) in cases {
            let refused = refused(text);
            assert!(refused.contains(said), "{text}: {refused}");
        }
    }

    #[test]
    fn broken_json_is_shown_where_it_breaks() {
        let refused = refused(r#"{"command": "x",, "id": "a"}"#);
        assert!(refused.contains("broken at column 17"), "{refused}");
        assert!(refused.contains("look here"), "{refused}");
        for text in ["{", r#"{"a"#, "{é", "{\"command\":\"x\"} x", "{\n\"id\" 1}", r#"{"a":NaN}"#]
        {
            assert!(self::refused(text).contains("broken at"), "{text}");
        }
    }

    #[test]
    fn deep_nesting_is_refused_before_it_costs_anything() {
        let deep = |levels| {
            format!(r#"{{"kind":"k","payload":{}{}}}"#, "[".repeat(levels), "]".repeat(levels))
        };
        read(&deep(63));
        assert!(refused(&deep(64)).contains("64 levels"));
        refused(&deep(500_000));
    }

    #[test]
    fn any_text_is_answered_without_a_panic() {
        let whole = r#"{"id":"é","command":"\u00e9😀","run_at":1e400,"env":{"A":"b"}}"#;
        for (index, _) in whole.char_indices() {
            let _ = parse(&whole[..index], &when());
            let _ = parse(&whole[index..], &when());
            let _ = parse(&format!("{}\u{0}{}", &whole[..index], &whole[index..]), &when());
        }
    }
}

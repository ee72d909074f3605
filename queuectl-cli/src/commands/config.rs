//! `config`: shows and changes the store's settings.

use queuectl_core::store::Store;
use queuectl_core::{Setting, Settings};
use serde::Serialize;
use serde_json::{Value, json};

use crate::args::{Config, ConfigCommand};
use crate::error::CliError;
use crate::exit::Exit;
use crate::output::Paint;
use crate::output::json::SchemaVersion;
use crate::output::table::{Cell, Column, Table};
use crate::session::Session;

/// What the gaps between the columns take, and a little more.
const MARGIN: usize = 8;

pub(crate) fn run(session: &Session, args: &Config) -> Result<Exit, CliError> {
    match (&args.key, &args.command) {
        (None, None | Some(ConfigCommand::List)) => list(session),
        (Some(key), _) | (None, Some(ConfigCommand::Get { key })) => match key.as_str() {
            "all" => list(session),
            key => get(session, key.parse()?),
        },
        (None, Some(ConfigCommand::Set { key, value })) => {
            let setting: Setting = key.parse()?;
            // Checked before the store is made for a value that it would not take.
            Settings::default().set(setting, value)?;
            let store = session.store_path()?.open_or_create()?;
            changed(session, setting, &store.change_setting(setting, Some(value))?)
        }
        (None, Some(ConfigCommand::Unset { key })) => {
            let setting: Setting = key.parse()?;
            let store = session.store_path()?.open()?;
            changed(session, setting, &store.change_setting(setting, None)?)
        }
    }
}

/// The settings of the store, or those that a new one would have.
fn settings(session: &Session) -> Result<Settings, CliError> {
    match session.store_path()?.open_if_any()? {
        Some(store) => Ok(store.settings()?),
        None => Ok(Settings::default()),
    }
}

#[derive(Serialize)]
struct Document {
    schema_version: SchemaVersion,
    settings: Vec<SettingView>,
}

#[derive(Serialize)]
struct One {
    schema_version: SchemaVersion,
    #[serde(flatten)]
    setting: SettingView,
}

#[derive(Serialize)]
struct SettingView {
    key: &'static str,
    /// A number where the setting is one; seconds for a duration, bytes for a size, null for never.
    value: Value,
    /// The value as `config set` takes it.
    text: String,
    default: String,
    help: &'static str,
}

fn view(settings: &Settings, setting: Setting) -> SettingView {
    let seconds = |duration: Option<std::time::Duration>| json!(duration.map(|d| d.as_secs_f64()));
    SettingView {
        key: setting.as_str(),
        value: match setting {
            Setting::MaxRetries => json!(settings.max_retries),
            Setting::MaxCrashes => json!(settings.max_crashes),
            Setting::BackoffBase => json!(settings.backoff_base),
            Setting::BackoffMax => seconds(Some(settings.backoff_max)),
            Setting::BackoffJitter => json!(settings.backoff_jitter),
            Setting::WorkerTimeout => seconds(settings.worker_timeout),
            Setting::Grace => seconds(Some(settings.grace)),
            Setting::OutputLimit => json!(settings.output_limit),
            Setting::LogLimit => json!(settings.log_limit),
            Setting::RetentionCompleted => seconds(settings.retention_completed),
            Setting::RetentionDead => seconds(settings.retention_dead),
            Setting::RetentionCompletedCount => json!(settings.retention_completed_count),
            Setting::RetentionDeadCount => json!(settings.retention_dead_count),
            Setting::EventLog => json!(settings.event_log),
            Setting::EventLogCount => json!(settings.event_log_count),
            _ => json!(settings.get(setting)),
        },
        text: settings.get(setting),
        default: Settings::default().get(setting),
        help: setting.help(),
    }
}

fn list(session: &Session) -> Result<Exit, CliError> {
    let settings = settings(session)?;
    let views = Setting::ALL.map(|setting| view(&settings, setting));
    if session.ui.json {
        session.ui.document(&Document { schema_version: SchemaVersion, settings: views.into() })?;
        return Ok(Exit::DONE);
    }
    let mut table = Table::new([
        Column::text("KEY"),
        Column::text("VALUE"),
        Column::text("DEFAULT"),
        Column::text("MEANING"),
    ]);
    let taken = views
        .iter()
        .map(|view| view.key.len() + view.text.len().max(5) + view.default.len().max(7))
        .max();
    let left = session.ui.width.map(|width| width.saturating_sub(taken.unwrap_or(0) + MARGIN));
    for view in views {
        let paint = if view.text == view.default { Paint::Plain } else { Paint::Busy };
        let mut lines = wrapped(view.help, left).into_iter();
        table.row(vec![
            view.key.into(),
            Cell(view.text, paint),
            Cell(view.default, Paint::Faint),
            Cell(lines.next().unwrap_or_default(), Paint::Faint),
        ]);
        for more in lines {
            let mut row = vec![Cell::default(); 3];
            row.push(Cell(more, Paint::Faint));
            table.row(row);
        }
    }
    session.ui.print(table.render(session.ui.width, session.ui.colour))?;
    Ok(Exit::DONE)
}

/// A text in lines of whole words, as long as there is room for.
fn wrapped(text: &str, limit: Option<usize>) -> Vec<String> {
    let limit = limit.unwrap_or(usize::MAX);
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.len() + 1 + word.len() <= limit => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

fn get(session: &Session, setting: Setting) -> Result<Exit, CliError> {
    let settings = settings(session)?;
    if session.ui.json {
        return one(session, setting, &settings);
    }
    session.ui.line(settings.get(setting))?;
    Ok(Exit::DONE)
}

fn changed(session: &Session, setting: Setting, settings: &Settings) -> Result<Exit, CliError> {
    if session.ui.json {
        return one(session, setting, settings);
    }
    session.ui.line(format_args!("{setting} = {}", settings.get(setting)))?;
    Ok(Exit::DONE)
}

fn one(session: &Session, setting: Setting, settings: &Settings) -> Result<Exit, CliError> {
    session
        .ui
        .document(&One { schema_version: SchemaVersion, setting: view(settings, setting) })?;
    Ok(Exit::DONE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_wrapped_between_words() {
        assert_eq!(wrapped("one two three", Some(8)), ["one two", "three"]);
        assert_eq!(wrapped("one two", None), ["one two"]);
        assert_eq!(wrapped("extraordinary", Some(3)), ["extraordinary"]);
    }
}

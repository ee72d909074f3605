//! What jobs that failed for good have in common: the form of a failure, and its fingerprint. Pure.
//!
//! A million dead jobs have mostly failed in a handful of ways. What tells these ways apart is the kind of
//! the job, the cause of its last attempt, the exit code or signal of a command, and what was said, less
//! what differs from job to job.

use crate::attempt::{Captured, Cause, Report};
use crate::id::{Fingerprint, Name};

/// How long the form of an error is at most, in characters. What differs only beyond that is alike.
pub const FORM_LEN_MAX: usize = 200;

/// How much of what was said is looked at, in bytes.
const TEXT_LEN_MAX: usize = 4_000;

/// A way to fail. The same for all that failed alike, in every store and on every machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The job's kind.
    pub kind: Name,
    /// Why the last attempt ended.
    pub cause: Cause,
    /// The exit code of a command.
    pub exit_code: Option<i32>,
    /// The signal that ended a command.
    pub signal: Option<i32>,
    /// What was said, less what differs from job to job: see [`form`].
    pub form: String,
}

impl Failure {
    /// The way in which a job of this kind failed, from the report of its last attempt.
    ///
    /// What was said is the error; of a command that ended by itself it is the last line that it wrote to
    /// its standard error, for the error repeats the exit code.
    ///
    /// ```
    /// use queuectl_core::{Cause, Failure, Name, Report};
    ///
    /// let kind = Name::new("charge")?;
    /// let failed = |error: &str| Failure::of(&kind, &Report::failure(Cause::Failed, error));
    /// let one = failed("customer 4711: no route to 10.0.0.7:443 after 3 s");
    /// let other = failed("customer 12: no route to 10.0.0.93:8443 after 30 s");
    /// assert_eq!(one.form, "customer #: no route to # after # s");
    /// assert_eq!(one.fingerprint(), other.fingerprint());
    /// assert_ne!(one.fingerprint(), failed("customer 4711: card expired").fingerprint());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn of(kind: &Name, report: &Report) -> Self {
        let by_itself = report.exit_code.is_some() || report.signal.is_some();
        let by_itself = by_itself && matches!(report.cause, Cause::Exited | Cause::Signalled);
        Failure {
            kind: kind.clone(),
            cause: report.cause,
            exit_code: report.exit_code,
            signal: report.signal,
            form: match by_itself {
                true => form(&last_line(&report.stderr)),
                false => form(report.error.as_deref().unwrap_or_default()),
            },
        }
    }

    /// The fingerprint: FNV-1a, of 64 bits, of the five fields as text with a zero byte after each. A field
    /// without a value is empty.
    pub fn fingerprint(&self) -> Fingerprint {
        let number = |number: Option<i32>| number.map_or_else(String::new, |n| n.to_string());
        let (code, signal) = (number(self.exit_code), number(self.signal));
        let fields = [self.kind.as_str(), self.cause.as_str(), &code, &signal, &self.form];
        let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
        for field in fields {
            for byte in field.bytes().chain([0]) {
                hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
            }
        }
        Fingerprint(hash.cast_signed())
    }
}

/// A text less what differs from job to job: words with a digit in them (numbers, ids, addresses, times)
/// become `#`, together with such words that they are joined to; absolute paths `/*`; of an address with
/// `://` the host stays, its digits apart; mail addresses `*@*`. White space is one blank. At most
/// [`FORM_LEN_MAX`] characters.
///
/// ```
/// use queuectl_core::failure::form;
///
/// assert_eq!(form("line 12:5 of /srv/in/a.csv: bad date 2026-02-30"), "line # of /*: bad date #");
/// assert_eq!(form("GET https://api.example.org/users/17 was 503"), "GET https://api.example.org/* was #");
/// assert_eq!(form("no job 6fa459ea-ee8a-3ca4-894e-db77e160355e"), "no job #");
/// assert_eq!(form("ada@example.org is unknown"), "*@* is unknown");
/// ```
pub fn form(text: &str) -> String {
    let end = (0..=text.len().min(TEXT_LEN_MAX)).rev().find(|&at| text.is_char_boundary(at));
    let mut form = String::new();
    for word in text[..end.unwrap_or(0)].split_whitespace() {
        if !form.is_empty() {
            form.push(' ');
        }
        word_form(word, &mut form);
        if form.len() > 4 * FORM_LEN_MAX {
            break;
        }
    }
    if let Some((end, _)) = form.char_indices().nth(FORM_LEN_MAX) {
        form.truncate(end);
    }
    form
}

/// The form of a word between blanks: of what stands between the marks around it and within it.
fn word_form(word: &str, form: &mut String) {
    const QUOTES: &str = "()[]{}<>'\"`|";
    let is_url = word.contains("://");
    let around = |c| QUOTES.contains(c) || (!is_url && ",;=".contains(c));
    for part in word.split_inclusive(around) {
        let core = part.trim_end_matches(|c| around(c) || ".:!?".contains(c));
        let is_path = ["/", "./", "../", "~/"].iter().any(|root| core.starts_with(root));
        if let Some((scheme, rest)) = core.split_once("://") {
            let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
            form.push_str(scheme);
            form.push_str("://");
            without_numbers(host.rsplit('@').next().unwrap_or_default(), form);
            form.push_str(if host.len() < rest.len() { "/*" } else { "" });
        } else if is_path && core.len() > 1 {
            form.push_str("/*");
        } else if core
            .split_once('@')
            .is_some_and(|(name, host)| !name.is_empty() && host.contains('.'))
        {
            form.push_str("*@*");
        } else {
            without_numbers(core, form);
        }
        form.push_str(&part[core.len()..]);
    }
}

/// Puts one `#` for each run of letters and digits that has a digit, and for several that are joined.
fn without_numbers(text: &str, form: &mut String) {
    let start = form.len();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let end = match first.is_alphanumeric() {
            true => rest.find(|c: char| !c.is_alphanumeric()).unwrap_or(rest.len()),
            false => first.len_utf8(),
        };
        let (piece, after) = rest.split_at(end);
        rest = after;
        let before = form[start..].trim_end_matches(['-', ':', '.', '_', ',', '/', '+']);
        let joined = before.ends_with('#').then_some(start + before.len());
        if piece.contains(char::is_numeric) || (joined.is_some() && is_group_of_a_uuid(piece, form))
        {
            match joined {
                Some(end) => form.truncate(end),
                None => form.push('#'),
            }
        } else {
            form.push_str(piece);
        }
    }
}

/// Four hexadecimal digits after a hyphen, none of which happens to be a decimal one.
fn is_group_of_a_uuid(piece: &str, form: &str) -> bool {
    form.ends_with('-') && piece.len() == 4 && piece.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The last line of an output that is not blank.
fn last_line(output: &Captured) -> String {
    let kept = if output.tail.is_empty() { &output.head } else { &output.tail };
    let start = kept.len().saturating_sub(TEXT_LEN_MAX);
    let text = String::from_utf8_lossy(&kept[start..]);
    text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_from_job_to_job_is_taken_out() {
        for (text, expected) in [
            ("", ""),
            ("  no \n\t route ", "no route"),
            ("line 12: 500", "line #: #"),
            ("id=17, name='ada9'", "id=#, name='#'"),
            ("at 2026-11-22T21:45:28.123Z", "at #"),
            ("at 2026-11-22 21:45:28", "at # #"),
            ("0x7ffe12 is not mapped", "# is not mapped"),
            ("no route to [fe80::1]:22", "no route to [#]:#"),
            ("[1, 2,3]", "[#, #,#]"),
            ("'/var/lib/x y': No such file (os error 2)", "'/* y': No such file (os error #)"),
            ("~/a ./b ../c /", "/* /* /* /"),
            ("read/write", "read/write"),
            ("panicked at src/x.rs:12:5:", "panicked at src/x.rs:#:"),
            ("http://ada:secret@db7.example.org:80", "http://#.example.org:#"),
            ("https://example.org?x=1&y=2,", "https://example.org/*"),
            ("mail to <ada.l@example.org>: no", "mail to <*@*>: no"),
            ("user@host", "user@host"),
            ("a1b2c3d4-beef-4cafe-8000-0123456789ab!", "#!"),
            ("größe ٣", "größe #"),
        ] {
            assert_eq!(form(text), expected, "{text:?}");
        }
    }

    #[test]
    fn a_form_is_not_longer_than_it_may_be() {
        for text in ["x".repeat(100_000), "ä b ".repeat(5_000), "/x ".repeat(5_000)] {
            let form = form(&text);
            assert!(form.chars().count() <= FORM_LEN_MAX && !form.is_empty());
        }
    }

    #[test]
    fn commands_are_told_apart_by_their_exit_codes_and_last_words() {
        let kind = Name::new("shell").unwrap();
        let ended = |code, stderr: &str| {
            let stderr = Captured { head: stderr.into(), ..Captured::default() };
            let error = Some(format!("exit code {code}"));
            let report =
                Report { error, exit_code: Some(code), stderr, ..Report::new(Cause::Exited) };
            Failure::of(&kind, &report)
        };
        let refused = ended(7, "curl 8.1\ncurl: (7) refused\n\n");
        assert_eq!((refused.exit_code, refused.form.as_str()), (Some(7), "curl: (#) refused"));
        let same = |other: Failure| other.fingerprint() == refused.fingerprint();
        assert!(same(ended(7, "curl 9.2\ncurl: (77) refused")));
        assert!(!same(ended(6, "curl: (7) refused")));
        assert!(!same(ended(7, "")));
    }

    /// It stands in files: a fingerprint that changes makes two groups of one.
    #[test]
    fn a_fingerprint_stays_what_it_is() {
        let kind = Name::new("charge").unwrap();
        let failure = Failure::of(&kind, &Report::failure(Cause::Failed, "customer 7: no route"));
        assert_eq!(failure.fingerprint().to_string(), "f8f160b0e6053b05");
    }
}

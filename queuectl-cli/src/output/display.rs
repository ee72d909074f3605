//! The one way for text that a job controls to reach a terminal: with every character that a
//! terminal would obey, or that hides what the text says, made visible.

use std::fmt::{self, Write};

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Text that is safe to print.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shown<'a> {
    text: &'a str,
    lines: bool,
}

/// Text for one line: newlines and tabs are made visible as well.
pub(crate) fn line(text: &str) -> Shown<'_> {
    Shown { text, lines: false }
}

/// Text that may have several lines and tabs.
pub(crate) fn text(text: &str) -> Shown<'_> {
    Shown { text, lines: true }
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.text.chars() {
            match character {
                '\n' | '\t' if self.lines => f.write_char(character)?,
                '\n' => f.write_str("\\n")?,
                '\t' => f.write_str("\\t")?,
                '\r' => f.write_str("\\r")?,
                '\0'..='\u{7f}' if character.is_control() => {
                    write!(f, "\\x{:02x}", character as u32)?;
                }
                _ if deceives(character) => write!(f, "\\u{{{:x}}}", character as u32)?,
                _ => f.write_char(character)?,
            }
        }
        Ok(())
    }
}

/// Whether a character does something else than being seen: controls, changes of direction,
/// characters without width that are not marks on the one before, tags.
fn deceives(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{feff}' | '\u{ffa0}'
            | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}')
}

/// JSON in which everything outside of plain text is escaped, as JSON itself escapes only some of
/// it. Such characters occur in strings alone, so the document says the same.
pub(crate) fn json(document: &str) -> String {
    let mut escaped = String::with_capacity(document.len());
    for character in document.chars() {
        if deceives(character) && !matches!(character, '\n' | '\t' | '\r') {
            for unit in character.encode_utf16(&mut [0; 2]) {
                let _ = write!(escaped, "\\u{unit:04x}");
            }
        } else {
            escaped.push(character);
        }
    }
    escaped
}

/// How many columns of a terminal a text takes that is safe to print.
pub(crate) fn width(text: &str) -> usize {
    text.width()
}

/// The text, cut to so many columns; what is cut away is marked.
pub(crate) fn truncate(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let mut kept = String::new();
    let mut left = columns.saturating_sub(1);
    for character in text.chars() {
        let takes = character.width().unwrap_or(0);
        if takes > left {
            break;
        }
        left -= takes;
        kept.push(character);
    }
    if columns > 0 {
        kept.push('…');
    }
    kept
}

/// An argument vector as one would type it.
pub(crate) fn quoted<S: AsRef<str>>(argv: &[S]) -> String {
    let plain = |word: &str| {
        !word.is_empty()
            && word
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"_@%+=:,./-".contains(&byte))
    };
    let words: Vec<String> = argv
        .iter()
        .map(|word| match word.as_ref() {
            word if plain(word) => word.to_owned(),
            word => format!("'{}'", word.replace('\'', r"'\''")),
        })
        .collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What attackers of terminals have used: colours and titles, the clipboard, hyperlinks,
    /// reports that come back as input, 8-bit controls, overwritten lines, reversed text.
    const CORPUS: [(&str, &str); 12] = [
        ("\u{1b}[31mred", r"\x1b[31mred"),
        ("\u{1b}]0;title\u{7}", r"\x1b]0;title\x07"),
        ("\u{1b}]52;c;ZWNobw==\u{1b}\\", r"\x1b]52;c;ZWNobw==\x1b\"),
        ("\u{1b}]8;;http://x\u{1b}\\y", r"\x1b]8;;http://x\x1b\y"),
        ("\u{9b}2J", r"\u{9b}2J"),
        ("\u{9d}0;x\u{9c}", r"\u{9d}0;x\u{9c}"),
        ("done\rfailed", r"done\rfailed"),
        ("a\u{8}b\u{7f}", r"a\x08b\x7f"),
        ("\u{202e}txt.exe", r"\u{202e}txt.exe"),
        ("a\u{2066}b\u{2069}", r"a\u{2066}b\u{2069}"),
        ("pass\u{200b}word\u{feff}", r"pass\u{200b}word\u{feff}"),
        ("nul\0", r"nul\x00"),
    ];

    #[test]
    fn known_tricks_are_made_visible() {
        for (hostile, shown) in CORPUS {
            assert_eq!(line(hostile).to_string(), shown);
            assert_eq!(text(hostile).to_string(), shown);
        }
    }

    #[test]
    fn no_character_that_a_terminal_obeys_gets_through() {
        for character in '\0'..=char::MAX {
            let shown = line(&character.to_string()).to_string();
            assert!(!shown.chars().any(deceives), "U+{:04X}", character as u32);
            let shown = text(&character.to_string()).to_string();
            assert!(
                !shown.chars().any(|shown| deceives(shown) && shown != '\n' && shown != '\t'),
                "U+{:04X}",
                character as u32
            );
            if character.is_alphanumeric() && !deceives(character) {
                assert_eq!(shown, character.to_string());
            }
        }
    }

    #[test]
    fn lines_and_tabs_stay_only_where_there_may_be_several() {
        assert_eq!(text("a\n\tb").to_string(), "a\n\tb");
        assert_eq!(line("a\n\tb").to_string(), r"a\n\tb");
    }

    #[test]
    fn escaped_json_says_the_same() {
        let hostile = "\u{7f}\u{9b}\u{202e}\u{e0041}é😀\u{1b}";
        let document = serde_json::to_string(hostile).unwrap();
        let escaped = json(&document);
        assert!(!escaped.chars().any(deceives), "{escaped}");
        assert_eq!(serde_json::from_str::<String>(&escaped).unwrap(), hostile);
    }

    #[test]
    fn text_is_cut_by_what_it_takes_on_the_screen() {
        assert_eq!(truncate("hello", 5), "hello");
        assert_eq!(truncate("hello!", 5), "hell…");
        assert_eq!(truncate("日本語テキスト", 6), "日本…");
        assert_eq!(truncate("hello", 0), "");
    }

    #[test]
    fn an_argument_vector_reads_as_one_would_type_it() {
        assert_eq!(quoted(&["rsync", "-a", "my dir"]), "rsync -a 'my dir'");
        assert_eq!(quoted(&["echo", "", "it's"]), r"echo '' 'it'\''s'");
    }
}

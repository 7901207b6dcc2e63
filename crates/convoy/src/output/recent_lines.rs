//! The last lines that this process has printed, for the page of `convoy dev`. Bounded; older
//! lines are dropped. Nothing is kept before [`keep`].

use std::collections::VecDeque;

use parking_lot::Mutex;

const MAX_LINES: usize = 500;
const MAX_LINE_BYTES: usize = 2 << 10;

static RECENT: Mutex<Option<Recent>> = Mutex::new(None);

#[derive(Default)]
struct Recent {
    lines: VecDeque<String>,
    /// The number of all lines so far.
    total: u64,
    /// The beginning of a line that has not ended yet.
    partial: String,
}

/// Keeps lines from now on.
pub fn keep() {
    RECENT.lock().get_or_insert_default();
}

/// Adds text that is printed.
pub(super) fn record(text: &str) {
    if let Some(recent) = RECENT.lock().as_mut() {
        recent.add(text);
    }
}

/// The kept lines after the first `seen` of all, and the number of all.
pub fn after(seen: u64) -> (Vec<String>, u64) {
    RECENT.lock().as_ref().map(|recent| (recent.after(seen), recent.total)).unwrap_or_default()
}

impl Recent {
    fn add(&mut self, text: &str) {
        for part in text.split_inclusive('\n') {
            let room = MAX_LINE_BYTES - self.partial.len();
            let line = part.strip_suffix('\n');
            let content = line.unwrap_or(part);
            self.partial.push_str(&content[..content.floor_char_boundary(room.min(content.len()))]);
            if line.is_some() {
                self.lines.push_back(std::mem::take(&mut self.partial));
                self.total += 1;
                if self.lines.len() > MAX_LINES {
                    self.lines.pop_front();
                }
            }
        }
    }

    fn after(&self, seen: u64) -> Vec<String> {
        let new = usize::try_from(self.total.saturating_sub(seen)).unwrap_or(usize::MAX);
        self.lines.iter().skip(self.lines.len().saturating_sub(new)).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_whole_and_only_the_last_ones_are_kept() {
        let mut recent = Recent::default();
        recent.add("a\nb");
        assert_eq!(recent.after(0), ["a"]);
        recent.add("c\n");
        assert_eq!(recent.after(0), ["a", "bc"]);
        assert_eq!(recent.after(1), ["bc"]);
        assert_eq!(recent.after(2), Vec::<String>::new());
        for n in 0..MAX_LINES {
            recent.add(&format!("{n}\n"));
        }
        assert_eq!(recent.after(0).len(), MAX_LINES);
        assert_eq!(recent.after(recent.total - 1), [(MAX_LINES - 1).to_string()]);
        recent.add(&"é".repeat(MAX_LINE_BYTES));
        recent.add("\n");
        assert_eq!(recent.after(recent.total - 1)[0].len(), MAX_LINE_BYTES);
    }
}

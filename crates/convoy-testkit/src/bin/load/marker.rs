//! Writes are numbered, and say so in what they write: `<prefix><number>.`,
//! which is then found in the frames that show them.

use memchr::memmem::{self, Finder};

pub(crate) struct Marker {
    prefix: String,
    finder: Finder<'static>,
}

impl Marker {
    /// `prefix` is in no other text of the frames.
    pub(crate) fn new(prefix: &str) -> Marker {
        Marker { prefix: prefix.to_owned(), finder: Finder::new(prefix).into_owned() }
    }

    pub(crate) fn text(&self, number: usize) -> String {
        format!("{}{number}.", self.prefix)
    }

    /// The numbers in a frame, in its order; it is read only as far as they are
    /// asked for.
    pub(crate) fn numbers<'a>(&'a self, frame: &'a [u8]) -> impl Iterator<Item = usize> + 'a {
        self.finder.find_iter(frame).filter_map(|at| number(&frame[at + self.prefix.len()..]))
    }
}

fn number(text: &[u8]) -> Option<usize> {
    let end = memmem::find(text, b".")?;
    std::str::from_utf8(&text[..end]).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_found_again() {
        let marker = Marker::new("run 1, ");
        let frame = format!(r#"{{"a":"{}","b":"{}","c":"run 2, 5."}}"#, marker.text(12), marker.text(3));
        assert_eq!(marker.numbers(frame.as_bytes()).collect::<Vec<_>>(), [12, 3]);
    }
}

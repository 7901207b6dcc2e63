//! Numbers writes: each contains a marker `<prefix><number>.`, which identifies it in frames.

use memchr::memmem::{self, Finder};

pub(crate) struct Marker {
    prefix: String,
    finder: Finder<'static>,
}

impl Marker {
    /// `prefix` must not be in any other text of the frames.
    pub(crate) fn new(prefix: &str) -> Marker {
        Marker { prefix: prefix.to_owned(), finder: Finder::new(prefix).into_owned() }
    }

    pub(crate) fn text(&self, number: usize) -> String {
        format!("{}{number}.", self.prefix)
    }

    /// The numbers in a frame, in order, found lazily.
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
    fn written_markers_are_found() {
        let marker = Marker::new("run 1, ");
        let frame = format!(r#"{{"a":"{}","b":"{}","c":"run 2, 5."}}"#, marker.text(12), marker.text(3));
        assert_eq!(marker.numbers(frame.as_bytes()).collect::<Vec<_>>(), [12, 3]);
    }
}

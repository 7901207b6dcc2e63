//! Chooses the encoding of an answer by `Accept-Encoding` (RFC 9110, section 12.5.3). Pure.

use hyper::HeaderMap;
use hyper::header::ACCEPT_ENCODING;

/// An encoding of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Coding {
    /// Brotli.
    Brotli,
    /// Gzip.
    Gzip,
    /// None.
    Identity,
}

impl Coding {
    /// The value of `Content-Encoding`; identity has none.
    pub(super) fn name(self) -> Option<&'static str> {
        match self {
            Coding::Brotli => Some("br"),
            Coding::Gzip => Some("gzip"),
            Coding::Identity => None,
        }
    }
}

/// The encoding that the client prefers among those that exist; of equal ones the smallest.
/// Identity is sent also to a client that refuses it, if there is nothing else.
pub(super) fn choose(headers: &HeaderMap, exists: impl Fn(Coding) -> bool) -> Coding {
    let accepted = Accepted::of(headers);
    let identity = accepted.explicit("identity").unwrap_or(0.0);
    let mut best = (Coding::Identity, identity);
    for (coding, names) in [(Coding::Gzip, ["gzip", "x-gzip"]), (Coding::Brotli, ["br", "br"])] {
        let quality = names.iter().find_map(|name| accepted.explicit(name)).or(accepted.explicit("*")).unwrap_or(0.0);
        if quality > 0.0 && quality >= best.1 && exists(coding) {
            best = (coding, quality);
        }
    }
    best.0
}

/// The codings of a request and their qualities.
struct Accepted<'a>(Vec<(&'a str, f32)>);

impl<'a> Accepted<'a> {
    fn of(headers: &'a HeaderMap) -> Accepted<'a> {
        let lists = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|list| list.to_str().ok());
        Accepted(lists.flat_map(|list| list.split(',')).map(coding_and_quality).collect())
    }

    fn explicit(&self, name: &str) -> Option<f32> {
        self.0.iter().find(|(coding, _)| coding.eq_ignore_ascii_case(name)).map(|(_, quality)| *quality)
    }
}

/// `gzip;q=0.5`. A quality that is not a number from 0 to 1 refuses the coding.
fn coding_and_quality(item: &str) -> (&str, f32) {
    let mut parts = item.split(';').map(str::trim);
    let coding = parts.next().unwrap_or_default();
    let quality = parts.find_map(|part| part.strip_prefix("q=").or(part.strip_prefix("Q=")));
    let quality = quality.map_or(1.0, |quality| quality.trim().parse().unwrap_or(0.0));
    (coding, if (0.0..=1.0).contains(&quality) { quality } else { 0.0 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::HeaderValue;

    fn chosen(accept: Option<&'static str>, existing: &[Coding]) -> Coding {
        let mut headers = HeaderMap::new();
        if let Some(accept) = accept {
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(accept));
        }
        choose(&headers, |coding| existing.contains(&coding))
    }

    #[test]
    fn the_client_decides_and_brotli_wins_among_equals() {
        use Coding::{Brotli, Gzip, Identity};
        for (accept, coding) in [
            (None, Identity),
            (Some(""), Identity),
            (Some("gzip, deflate, br, zstd"), Brotli),
            (Some("gzip"), Gzip),
            (Some("x-gzip"), Gzip),
            (Some("GZIP"), Gzip),
            (Some("br;q=0.5, gzip;q=0.8"), Gzip),
            (Some("br;q=0.8 , gzip; q=0.5"), Brotli),
            (Some("br;q=0"), Identity),
            (Some("br;q=0, gzip"), Gzip),
            (Some("br;q=0.000, gzip;q=0.0"), Identity),
            (Some("*"), Brotli),
            (Some("*, br;q=0"), Gzip),
            (Some("*;q=0"), Identity),
            (Some("gzip, *;q=0"), Gzip),
            (Some("identity"), Identity),
            (Some("identity, gzip;q=0.5"), Identity),
            (Some("identity;q=0.5, gzip"), Gzip),
            (Some("identity;q=0"), Identity),
            (Some("gzip;q=many"), Identity),
            (Some("gzip;q=2"), Identity),
            (Some("deflate, zstd"), Identity),
        ] {
            assert_eq!(chosen(accept, &[Brotli, Gzip]), coding, "{accept:?}");
        }
        assert_eq!(chosen(Some("gzip, br"), &[Gzip]), Gzip);
        assert_eq!(chosen(Some("gzip, br"), &[]), Identity);
    }
}

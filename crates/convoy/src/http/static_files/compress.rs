//! Compresses files in memory, for as long as the engine runs.

use std::io::Write;

use super::encoding::Coding;

/// Brotli's level. The next ones take several times as long and save a few percent.
const BROTLI_LEVEL: u32 = 9;
/// The base-2 logarithm of Brotli's window: 4 MiB.
const BROTLI_WINDOW: u32 = 22;
/// Bytes between two checks whether to go on.
const CHUNK_BYTES: usize = 64 << 10;

/// The types that compression makes smaller. Images, films, sounds, archives and web fonts
/// are compressed already.
pub(super) fn is_compressible(mime: &mime_guess::Mime) -> bool {
    let subtype = mime.subtype().as_str();
    let is_text =
        mime.type_() == "text" || matches!(mime.suffix(), Some(suffix) if suffix == "json" || suffix == "xml");
    is_text
        || matches!(subtype, "javascript" | "json" | "xml" | "wasm" | "ttf" | "otf" | "vnd.ms-fontobject" | "x-icon")
}

/// The bytes in this encoding; `None` if it was stopped.
pub(super) fn compress(bytes: &[u8], coding: Coding, stopped: &dyn Fn() -> bool) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(bytes.len() / 3);
    let written = match coding {
        Coding::Brotli => {
            let mut writer = brotli::CompressorWriter::new(&mut out, CHUNK_BYTES, BROTLI_LEVEL, BROTLI_WINDOW);
            // Its end is written when it is dropped.
            write_all(&mut writer, bytes, stopped)
        }
        Coding::Gzip => {
            let mut writer = flate2::write::GzEncoder::new(&mut out, flate2::Compression::best());
            write_all(&mut writer, bytes, stopped) && writer.finish().is_ok()
        }
        Coding::Identity => false,
    };
    written.then_some(out)
}

fn write_all(writer: &mut impl Write, bytes: &[u8], stopped: &dyn Fn() -> bool) -> bool {
    // Memory takes all that is written.
    bytes.chunks(CHUNK_BYTES).all(|chunk| !stopped() && writer.write_all(chunk).is_ok())
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn compressed_bytes_decode_to_the_file_and_a_stop_ends_the_work() {
        for text in [String::new(), "x".to_owned(), "const value = 1;\n".repeat(20_000)] {
            let going = || false;
            let (mut gzip, mut brotli) = (Vec::new(), Vec::new());
            let packed = compress(text.as_bytes(), Coding::Gzip, &going).expect("gzip");
            flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut gzip).expect("valid gzip");
            let packed = compress(text.as_bytes(), Coding::Brotli, &going).expect("brotli");
            brotli::Decompressor::new(&packed[..], 4096).read_to_end(&mut brotli).expect("valid brotli");
            assert!(gzip == text.as_bytes() && brotli == text.as_bytes());
        }
        assert_eq!(compress(b"text", Coding::Brotli, &|| true), None);
    }

    #[test]
    fn only_types_that_become_smaller_are_compressed() {
        for (name, compresses) in [
            ("a.js", true),
            ("a.mjs", true),
            ("a.css", true),
            ("a.html", true),
            ("a.svg", true),
            ("a.json", true),
            ("a.webmanifest", true),
            ("a.wasm", true),
            ("a.ttf", true),
            ("a.ico", true),
            ("a.png", false),
            ("a.woff2", false),
            ("a.mp4", false),
            ("a.gz", false),
            ("a.unknown", false),
        ] {
            assert_eq!(is_compressible(&mime_guess::from_path(name).first_or_octet_stream()), compresses, "{name}");
        }
    }
}

//! Base64 (RFC 4648, padded) for output that is not UTF-8. Small enough to need no crate.

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Why a text is not base64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not base64: wrong length, padding or character")]
pub struct Base64Error;

/// The text of these bytes.
pub fn encode(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().fold(0u32, |w, b| w << 8 | u32::from(*b)) << (8 * (3 - chunk.len()));
        for n in 0..4 {
            if n <= chunk.len() {
                out.push(char::from(DIGITS[(word >> (18 - 6 * n) & 63) as usize]));
            } else {
                out.push('=');
            }
        }
    }
    out
}

/// The bytes of this text.
pub fn decode(text: &str) -> Result<Vec<u8>, Base64Error> {
    let raw = text.as_bytes();
    if !raw.len().is_multiple_of(4) {
        return Err(Base64Error);
    }
    let padding = raw.iter().rev().take_while(|b| **b == b'=').count();
    if padding > 2 {
        return Err(Base64Error);
    }
    let mut out = Vec::with_capacity(raw.len() / 4 * 3);
    let (mut word, mut bits) = (0u32, 0u32);
    for b in &raw[..raw.len() - padding] {
        let digit = match b {
            b'A'..=b'Z' => b - b'A',
            b'a'..=b'z' => b - b'a' + 26,
            b'0'..=b'9' => b - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return Err(Base64Error),
        };
        word = word << 6 | u32::from(digit);
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            out.push((word >> bits & 255) as u8);
            word &= (1 << bits) - 1;
        }
    }
    if word == 0 { Ok(out) } else { Err(Base64Error) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_of_the_rfc() {
        for (plain, coded) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("foobar", "Zm9vYmFy")]
        {
            assert_eq!(encode(plain.as_bytes()), coded);
            assert_eq!(decode(coded).as_deref(), Ok(plain.as_bytes()));
        }
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(decode(&encode(&all)), Ok(all));
        for bad in ["Zg", "Zg=", "Z===", "Zm9v!m9v", "Zh=="] {
            assert_eq!(decode(bad), Err(Base64Error), "{bad}");
        }
    }
}

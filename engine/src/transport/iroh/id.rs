//! Ids of endpoints as people write them: hex, base32, z-base-32, base58. Does not print them; they print as 64 lower-case hex digits.

use data_encoding::{BASE32_NOPAD, Encoding, HEXLOWER_PERMISSIVE, Specification};
use iroh::{EndpointId, SecretKey};

use crate::model::{Error, ErrorKind};

const KEY_BYTES: usize = 32;
const HEX_DIGITS: usize = 64;
const BASE32_DIGITS: usize = 52;

/// Reads an id in any of its forms.
///
/// # Errors
/// `InvalidId`.
pub fn parse_id(text: &str) -> Result<EndpointId, Error> {
    let bytes = decode(text).ok_or_else(|| invalid(text))?;
    EndpointId::from_bytes(&bytes).map_err(|_| invalid(text))
}

/// Reads a secret key from its 32 bytes.
///
/// # Errors
/// `InvalidOption`; the text of the error holds nothing of the key.
pub fn parse_secret_key(bytes: &[u8]) -> Result<SecretKey, Error> {
    let key: [u8; KEY_BYTES] = bytes.try_into().map_err(|_| {
        Error::new(ErrorKind::InvalidOption, format!("a secret key has {KEY_BYTES} bytes, got {}", bytes.len()))
    })?;
    Ok(SecretKey::from_bytes(&key))
}

fn invalid(text: &str) -> Error {
    let shown: String = text.chars().take(80).collect();
    Error::new(
        ErrorKind::InvalidId,
        format!("{shown:?} is no id of an endpoint; expected 64 hex digits, base32, z-base-32 or base58"),
    )
}

fn decode(text: &str) -> Option<[u8; KEY_BYTES]> {
    let bytes = match text.len() {
        HEX_DIGITS => HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok()?,
        // Strict decoders want the four bits behind the key to be zero, so the last letter tells the two alphabets apart.
        BASE32_DIGITS => {
            let base32 = BASE32_NOPAD.decode(text.to_ascii_uppercase().as_bytes()).ok();
            base32.or_else(|| z_base_32().decode(text.as_bytes()).ok())?
        }
        32..=44 => decode_base58(text)?,
        _ => return None,
    };
    bytes.try_into().ok()
}

fn z_base_32() -> Encoding {
    let mut specification = Specification::new();
    specification.symbols.push_str("ybndrfg8ejkmcpqxot1uwisza345h769");
    specification.encoding().expect("32 different symbols make an encoding")
}

/// Bitcoin's alphabet, without 0, O, I and l.
const BASE58: &[u8; 58] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";

fn decode_base58(text: &str) -> Option<Vec<u8>> {
    let mut number = [0; KEY_BYTES];
    for digit in text.bytes() {
        let mut carry = BASE58.iter().position(|symbol| *symbol == digit)? as u32;
        for byte in number.iter_mut().rev() {
            carry += u32::from(*byte) * 58;
            *byte = carry as u8;
            carry >>= 8;
        }
        if carry > 0 {
            return None;
        }
    }
    // A leading 1 stands for a leading zero byte, neither more nor fewer.
    let ones = text.bytes().take_while(|digit| *digit == BASE58[0]).count();
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    (ones == zeros).then(|| number.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base58(bytes: &[u8; KEY_BYTES]) -> String {
        let mut digits = vec![0u8];
        for byte in bytes {
            let mut carry = u32::from(*byte);
            for digit in &mut digits {
                carry += u32::from(*digit) << 8;
                *digit = (carry % 58) as u8;
                carry /= 58;
            }
            while carry > 0 {
                digits.push((carry % 58) as u8);
                carry /= 58;
            }
        }
        while digits.last() == Some(&0) {
            digits.pop();
        }
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        let digits = std::iter::repeat_n(0, zeros).chain(digits.into_iter().rev());
        digits.map(|digit| char::from(BASE58[usize::from(digit)])).collect()
    }

    #[test]
    fn an_id_is_read_in_all_its_forms() {
        for _ in 0..200 {
            let id = SecretKey::generate().public();
            let hex = id.to_string();
            let forms = [
                hex.clone(),
                hex.to_uppercase(),
                BASE32_NOPAD.encode(id.as_bytes()),
                BASE32_NOPAD.encode(id.as_bytes()).to_lowercase(),
                id.to_z32(),
                base58(id.as_bytes()),
            ];
            for form in forms {
                assert_eq!(parse_id(&form).expect(&form), id, "{form}");
            }
        }
    }

    #[test]
    fn what_is_almost_an_id_is_none() {
        let id = SecretKey::generate().public();
        let (hex, base32) = (id.to_string(), BASE32_NOPAD.encode(id.as_bytes()));
        let almost = [
            String::new(),
            hex[1..].to_owned(),
            format!("{hex}0"),
            format!("{}g", &hex[1..]),
            format!("{}B", &base32[1..]),
            format!(" {}", &hex[1..]),
            format!("1{}", base58(id.as_bytes())),
            "z".repeat(44),
            "é".repeat(32),
        ];
        for text in almost {
            assert_eq!(parse_id(&text).expect_err(&text).kind(), ErrorKind::InvalidId, "{text:?}");
        }
    }
}

//! Hash slots: which of a cluster's 16384 parts a key belongs to.
//!
//! Takes keys. Gives slots, and short texts that belong to a slot. Always holds: a key's slot is that of the server
//! (CRC-16/XMODEM of the key, or of what stands between its first `{` and the `}` behind it, if anything does).

/// How many slots there are.
pub(crate) const SLOTS: u16 = 16384;

const TABLE: [u16; 256] = table();

const fn table() -> [u16; 256] {
    let mut table = [0u16; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = (byte as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 == 0 { crc << 1 } else { crc << 1 ^ 0x1021 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
}

fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| crc << 8 ^ TABLE[usize::from((crc >> 8) as u8 ^ byte)])
}

/// A key's slot.
pub(crate) fn slot(key: &[u8]) -> u16 {
    let hashed = key.iter().position(|byte| *byte == b'{').map(|open| &key[open + 1..]);
    let tag = hashed.and_then(|rest| rest.iter().position(|byte| *byte == b'}').map(|close| &rest[..close]));
    crc16(tag.filter(|tag| !tag.is_empty()).unwrap_or(key)) % SLOTS
}

/// The smallest number whose digits belong to this slot: as `{n}` in a name it puts it there.
pub(crate) fn tag(slot: u16) -> u64 {
    // The digits of the numbers below 10^6 reach every slot, as a test holds.
    (0..).find(|number: &u64| crc16(number.to_string().as_bytes()) % SLOTS == slot).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_the_server() {
        // The check value of CRC-16/XMODEM, and examples of the cluster's specification.
        assert_eq!(crc16(b"123456789"), 0x31c3);
        assert_eq!((slot(b"foo"), slot(b"{user1000}.following")), (12182, slot(b"user1000")));
        assert_eq!(slot(b"foo{}{bar}"), crc16(b"foo{}{bar}") % SLOTS);
        assert_eq!(slot(b"foo{{bar}}zap"), slot(b"{bar"));
        assert_eq!((slot(b"foo{bar}{zap}"), slot(b"a}{b"), slot(b"")), (slot(b"bar"), crc16(b"a}{b") % SLOTS, 0));
    }

    #[test]
    fn every_slot_has_a_short_tag() {
        let mut reached = vec![false; usize::from(SLOTS)];
        (0..1_000_000u64).for_each(|number| reached[usize::from(crc16(number.to_string().as_bytes()) % SLOTS)] = true);
        assert!(reached.iter().all(|reached| *reached));
        for wanted in [0, 1, 777, 16383] {
            assert_eq!(slot(format!("aquifer:{{{}}}", tag(wanted)).as_bytes()), wanted);
        }
    }
}

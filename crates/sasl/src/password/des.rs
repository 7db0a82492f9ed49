//! Traditional DES crypt(3), for hashes that have waited since the nineties to be replaced.
//! Bit by bit and slow; it only ever checks a password once before the hash is upgraded.

const ALPHABET: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

// FIPS 46-3: the tables of the Data Encryption Standard, positions counted from 1.
const PC1: [u8; 56] = [
    57, 49, 41, 33, 25, 17, 9, 1, 58, 50, 42, 34, 26, 18, 10, 2, 59, 51, 43, 35, 27, 19, 11, 3, 60, 52, 44,
    36, 63, 55, 47, 39, 31, 23, 15, 7, 62, 54, 46, 38, 30, 22, 14, 6, 61, 53, 45, 37, 29, 21, 13, 5, 28, 20,
    12, 4,
];
const PC2: [u8; 48] = [
    14, 17, 11, 24, 1, 5, 3, 28, 15, 6, 21, 10, 23, 19, 12, 4, 26, 8, 16, 7, 27, 20, 13, 2, 41, 52, 31, 37,
    47, 55, 30, 40, 51, 45, 33, 48, 44, 49, 39, 56, 34, 53, 46, 42, 50, 36, 29, 32,
];
const SHIFTS: [u8; 16] = [1, 1, 2, 2, 2, 2, 2, 2, 1, 2, 2, 2, 2, 2, 2, 1];
const E: [u8; 48] = [
    32, 1, 2, 3, 4, 5, 4, 5, 6, 7, 8, 9, 8, 9, 10, 11, 12, 13, 12, 13, 14, 15, 16, 17, 16, 17, 18, 19, 20,
    21, 20, 21, 22, 23, 24, 25, 24, 25, 26, 27, 28, 29, 28, 29, 30, 31, 32, 1,
];
const P: [u8; 32] = [
    16, 7, 20, 21, 29, 12, 28, 17, 1, 15, 23, 26, 5, 18, 31, 10, 2, 8, 24, 14, 32, 27, 3, 9, 19, 13, 30, 6,
    22, 11, 4, 25,
];
const FP: [u8; 64] = [
    40, 8, 48, 16, 56, 24, 64, 32, 39, 7, 47, 15, 55, 23, 63, 31, 38, 6, 46, 14, 54, 22, 62, 30, 37, 5, 45,
    13, 53, 21, 61, 29, 36, 4, 44, 12, 52, 20, 60, 28, 35, 3, 43, 11, 51, 19, 59, 27, 34, 2, 42, 10, 50, 18,
    58, 26, 33, 1, 41, 9, 49, 17, 57, 25,
];
const S: [[u8; 64]; 8] = [
    [
        14, 4, 13, 1, 2, 15, 11, 8, 3, 10, 6, 12, 5, 9, 0, 7, 0, 15, 7, 4, 14, 2, 13, 1, 10, 6, 12, 11, 9, 5,
        3, 8, 4, 1, 14, 8, 13, 6, 2, 11, 15, 12, 9, 7, 3, 10, 5, 0, 15, 12, 8, 2, 4, 9, 1, 7, 5, 11, 3, 14,
        10, 0, 6, 13,
    ],
    [
        15, 1, 8, 14, 6, 11, 3, 4, 9, 7, 2, 13, 12, 0, 5, 10, 3, 13, 4, 7, 15, 2, 8, 14, 12, 0, 1, 10, 6, 9,
        11, 5, 0, 14, 7, 11, 10, 4, 13, 1, 5, 8, 12, 6, 9, 3, 2, 15, 13, 8, 10, 1, 3, 15, 4, 2, 11, 6, 7, 12,
        0, 5, 14, 9,
    ],
    [
        10, 0, 9, 14, 6, 3, 15, 5, 1, 13, 12, 7, 11, 4, 2, 8, 13, 7, 0, 9, 3, 4, 6, 10, 2, 8, 5, 14, 12, 11,
        15, 1, 13, 6, 4, 9, 8, 15, 3, 0, 11, 1, 2, 12, 5, 10, 14, 7, 1, 10, 13, 0, 6, 9, 8, 7, 4, 15, 14, 3,
        11, 5, 2, 12,
    ],
    [
        7, 13, 14, 3, 0, 6, 9, 10, 1, 2, 8, 5, 11, 12, 4, 15, 13, 8, 11, 5, 6, 15, 0, 3, 4, 7, 2, 12, 1, 10,
        14, 9, 10, 6, 9, 0, 12, 11, 7, 13, 15, 1, 3, 14, 5, 2, 8, 4, 3, 15, 0, 6, 10, 1, 13, 8, 9, 4, 5, 11,
        12, 7, 2, 14,
    ],
    [
        2, 12, 4, 1, 7, 10, 11, 6, 8, 5, 3, 15, 13, 0, 14, 9, 14, 11, 2, 12, 4, 7, 13, 1, 5, 0, 15, 10, 3, 9,
        8, 6, 4, 2, 1, 11, 10, 13, 7, 8, 15, 9, 12, 5, 6, 3, 0, 14, 11, 8, 12, 7, 1, 14, 2, 13, 6, 15, 0, 9,
        10, 4, 5, 3,
    ],
    [
        12, 1, 10, 15, 9, 2, 6, 8, 0, 13, 3, 4, 14, 7, 5, 11, 10, 15, 4, 2, 7, 12, 9, 5, 6, 1, 13, 14, 0, 11,
        3, 8, 9, 14, 15, 5, 2, 8, 12, 3, 7, 0, 4, 10, 1, 13, 11, 6, 4, 3, 2, 12, 9, 5, 15, 10, 11, 14, 1, 7,
        6, 0, 8, 13,
    ],
    [
        4, 11, 2, 14, 15, 0, 8, 13, 3, 12, 9, 7, 5, 10, 6, 1, 13, 0, 11, 7, 4, 9, 1, 10, 14, 3, 5, 12, 2, 15,
        8, 6, 1, 4, 11, 13, 12, 3, 7, 14, 10, 15, 6, 8, 0, 5, 9, 2, 6, 11, 13, 8, 1, 4, 10, 7, 9, 5, 0, 15,
        14, 2, 3, 12,
    ],
    [
        13, 2, 8, 4, 6, 15, 11, 1, 10, 9, 3, 14, 5, 0, 12, 7, 1, 15, 13, 8, 10, 3, 7, 4, 12, 5, 6, 11, 0, 14,
        9, 2, 7, 11, 4, 1, 9, 12, 14, 2, 0, 6, 10, 13, 15, 3, 5, 8, 2, 1, 14, 7, 4, 10, 8, 13, 15, 12, 9, 0,
        3, 5, 6, 11,
    ],
];

/// The whole 13 characters that the two salt characters of `setting` give for a password.
pub fn crypt(pw: &[u8], setting: &str) -> Option<String> {
    let salt = setting.as_bytes().get(..2)?;
    let digit = |c: u8| ALPHABET.iter().position(|&a| a == c);
    let salt_bits = digit(salt[0])? | digit(salt[1])? << 6;
    let keys = schedule(pw);
    // RFC-less folklore made exact: salt bit i swaps positions i and i + 24 of the expansion.
    let mut expansion = E;
    for i in (0..12).filter(|i| salt_bits >> i & 1 != 0) {
        expansion.swap(i, i + 24);
    }
    // A block of zeros is its own initial permutation, and 25 rounds in a row cancel the inner
    // final and initial permutations.
    let (mut left, mut right) = ([0u8; 32], [0u8; 32]);
    for _ in 0..25 {
        for key in &keys {
            let f = round(&right, key, &expansion);
            let next = std::array::from_fn(|i| left[i] ^ f[i]);
            left = right;
            right = next;
        }
        std::mem::swap(&mut left, &mut right);
    }
    let block: Vec<u8> = left.into_iter().chain(right).collect();
    let bits: Vec<u8> = FP.iter().map(|&p| block[usize::from(p) - 1]).chain([0, 0]).collect();
    let mut out = setting.get(..2)?.to_owned();
    for six in bits.chunks(6) {
        let value = six.iter().fold(0usize, |v, &b| v << 1 | usize::from(b));
        out.push(char::from(ALPHABET[value]));
    }
    Some(out)
}

fn schedule(pw: &[u8]) -> Vec<[u8; 48]> {
    // Seven bits of each of the first eight characters.
    let bit = |p: u8| {
        let (byte, bit) = (usize::from(p - 1) / 8, (p - 1) % 8);
        pw.get(byte).map_or(0, |c| c << 1 >> (7 - bit) & 1)
    };
    let mut cd: Vec<u8> = PC1.iter().map(|&p| bit(p)).collect();
    SHIFTS
        .iter()
        .map(|&n| {
            cd[..28].rotate_left(usize::from(n));
            cd[28..].rotate_left(usize::from(n));
            std::array::from_fn(|i| cd[usize::from(PC2[i]) - 1])
        })
        .collect()
}

fn round(right: &[u8; 32], key: &[u8; 48], expansion: &[u8; 48]) -> [u8; 32] {
    let mut mixed = [0u8; 32];
    for (i, sbox) in S.iter().enumerate() {
        let b: [u8; 6] =
            std::array::from_fn(|j| right[usize::from(expansion[6 * i + j]) - 1] ^ key[6 * i + j]);
        let row = b[0] << 1 | b[5];
        let column = b[1] << 3 | b[2] << 2 | b[3] << 1 | b[4];
        let value = sbox[usize::from(row) * 16 + usize::from(column)];
        for j in 0..4 {
            mixed[4 * i + j] = value >> (3 - j) & 1;
        }
    }
    std::array::from_fn(|i| mixed[usize::from(P[i]) - 1])
}

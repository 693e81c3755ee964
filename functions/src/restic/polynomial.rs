//! Whether a polynomial can cut chunks.
//!
//! Takes a polynomial over GF(2), a bit for each coefficient. Always holds: those are taken that restic makes and takes, irreducible ones
//! of degree 53; with any other the rolling hash would find no cuts, or never end.

/// The degree that the format asks for. It is prime, which makes the test short.
pub(crate) const DEGREE: u32 = 53;

/// One that chunks can be cut with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Polynomial(u64);

impl Polynomial {
    /// None unless it is irreducible and of degree 53.
    pub(crate) fn new(polynomial: u64) -> Option<Self> {
        is_usable(polynomial).then_some(Self(polynomial))
    }

    /// Its coefficients.
    pub(crate) fn bits(self) -> u64 {
        self.0
    }
}

fn is_usable(polynomial: u64) -> bool {
    if polynomial >> DEGREE != 1 {
        return false;
    }
    // Whatever divides one of prime degree divides `x^(2^53) - x`, and those of degree 1 are `x` and `x + 1`: Rabin's test.
    let has_roots = polynomial & 1 == 0 || polynomial.count_ones().is_multiple_of(2);
    let x = 2;
    !has_roots && (0..DEGREE).fold(x, |power, _| square(power, polynomial)) == x
}

/// The square of a residue.
fn square(residue: u64, polynomial: u64) -> u64 {
    let (mut product, mut factor, mut shifted) = (0, residue, residue);
    while factor > 0 {
        if factor & 1 == 1 {
            product ^= shifted;
        }
        factor >>= 1;
        shifted <<= 1;
        if shifted >> DEGREE & 1 == 1 {
            shifted ^= polynomial;
        }
    }
    product
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The product of two polynomials.
    fn times(one: u64, other: u64) -> u64 {
        (0..64).filter(|bit| other >> bit & 1 == 1).fold(0, |product, bit| product ^ (one << bit))
    }

    #[test]
    fn those_that_restic_makes_are_taken_and_products_are_not() {
        // Made by restic.
        assert!(is_usable(0x003d_a335_8b4d_c173));
        for wrong in [0, 1, 2, 1 << 53, u64::MAX, 0x003d_a335_8b4d_c172, 0x003d_a335_8b4d_c173 << 1, 0b111] {
            assert!(!is_usable(wrong), "{wrong:x}");
        }
        // Of two factors, whose degrees are 53 together: neither has a root.
        for (one, other) in
            [(0b111, 1 << 51 | 0b1001 | 1 << 40), (0b1011, 1 << 50 | 1 << 7 | 1), (1 << 26 | 0b111, 1 << 27 | 0b111)]
        {
            let product = times(one, other);
            assert_eq!(product >> DEGREE, 1);
            assert!(!is_usable(product), "{product:x}");
        }
        // About one in 53 of them is irreducible.
        let found = (0..4000_u64).filter(|number| is_usable(1 << 53 | number << 20 | 0x12345)).count();
        assert!((20..=160).contains(&found), "{found}");
    }
}

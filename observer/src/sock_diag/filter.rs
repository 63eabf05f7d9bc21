//! Which sockets a dump lists, where one port does not say it: code that the kernel runs on each
//! socket. Pure.
//!
//! A binary search over the ports: what it costs grows with their logarithm, and a host may have very
//! many sockets of other ports. Sources: `include/uapi/linux/inet_diag.h`, `inet_diag_bc_run()` and
//! `inet_diag_bc_audit()` of `net/ipv4/inet_diag.c`.

// Codes of `struct inet_diag_bc_op`.
/// `INET_DIAG_BC_JMP`.
const JUMP: u8 = 1;
/// `INET_DIAG_BC_S_GE`: the local port is at least that of the next operation.
const AT_LEAST: u8 = 2;
/// `INET_DIAG_BC_S_EQ`: it is that one.
const EQUAL: u8 = 11;

/// Bytes of `struct inet_diag_bc_op`: a code, how far to go on if it is so, and if not.
const OPERATION: usize = 4;
/// A comparison: an operation, and one more whose last field is the port.
const COMPARISON: usize = 2 * OPERATION;
/// A comparison with a port, and the jump to the end of what is so.
const LEAF: usize = COMPARISON + OPERATION;

/// Most ports of one filter. How far to go on has 16 bits, and so has the length of an attribute.
pub(super) const MAX_PORTS: usize = 2_048;

/// Code that accepts the sockets with one of these local ports, which are in order, each once, at least
/// one and at most [`MAX_PORTS`].
pub(super) fn any_of(ports: &[u16]) -> Vec<u8> {
    let mut code = Vec::with_capacity(length(ports.len()));
    append(&mut code, ports, length(ports.len()));
    code
}

/// Bytes of the code for so many ports: a leaf for each, and a comparison between any two.
const fn length(ports: usize) -> usize {
    (ports * (LEAF + COMPARISON)).saturating_sub(COMPARISON)
}

/// Appends the search over `ports` to code that ends at `end`.
fn append(code: &mut Vec<u8>, ports: &[u16], end: usize) {
    let (lower, upper) = ports.split_at(ports.len() / 2);
    if let ([], &[port]) = (lower, upper) {
        // To the end accepts; beyond it refuses.
        let refuse = end - code.len() + OPERATION;
        compare(code, EQUAL, refuse, port);
        let accept = end - code.len();
        operation(code, JUMP, OPERATION, accept);
    } else if let Some(&first) = upper.first() {
        compare(code, AT_LEAST, COMPARISON + length(upper.len()), first);
        append(code, upper, end);
        append(code, lower, end);
    }
}

/// Where it is so, the code goes on behind it.
fn compare(code: &mut Vec<u8>, comparison: u8, otherwise: usize, port: u16) {
    operation(code, comparison, COMPARISON, otherwise);
    operation(code, 0, 0, usize::from(port));
}

fn operation(code: &mut Vec<u8>, operation: u8, yes: usize, no: usize) {
    code.extend([operation, yes as u8]);
    code.extend((no as u16).to_ne_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the kernel runs it.
    fn accepts(code: &[u8], port: u16) -> bool {
        let number = |at: usize| u16::from_ne_bytes([code[at + 2], code[at + 3]]);
        let mut at = 0;
        while at < code.len() {
            let is_so = match code[at] {
                JUMP => false,
                AT_LEAST => port >= number(at + OPERATION),
                EQUAL => port == number(at + OPERATION),
                other => panic!("no operation: {other}"),
            };
            at += match is_so {
                true => usize::from(code[at + 1]),
                false => usize::from(number(at)),
            };
        }
        at == code.len()
    }

    #[test]
    fn exactly_the_ports_of_a_filter_are_accepted() {
        let sets: [&[u16]; 5] = [
            &[80],
            &[80, 443],
            &[1, 2, 3],
            &[1, 65_535],
            &[22, 80, 443, 3_000, 3_001, 8_080, 65_534],
        ];
        for ports in sets {
            let code = any_of(ports);
            assert_eq!(code.len(), length(ports.len()));
            for port in 0..=u16::MAX {
                assert_eq!(
                    accepts(&code, port),
                    ports.contains(&port),
                    "{port} of {ports:?}"
                );
            }
        }
    }

    #[test]
    fn the_most_ports_fit_into_what_the_kernel_takes() {
        let ports: Vec<u16> = (0..MAX_PORTS as u16).map(|port| 7 + 31 * port).collect();
        let code = any_of(&ports);
        assert!(code.len() + 2 * OPERATION <= usize::from(u16::MAX));
        for port in 0..=u16::MAX {
            assert_eq!(accepts(&code, port), ports.binary_search(&port).is_ok());
        }
    }
}

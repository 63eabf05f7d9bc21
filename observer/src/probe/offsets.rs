//! Where the running kernel keeps the fields that the programs read: from its own BTF.
//!
//! Rust emits no CO-RE relocations, so user space resolves the offsets and hands them over as
//! constants at load.

use btf::btf::{Btf, Type};
use observer_ebpf::Offsets;

use super::LoadError;

/// The kernel's description of its own types.
pub(super) const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

/// What the kernel's BTF lacks.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OffsetsError {
    /// It cannot be decoded.
    #[error("{VMLINUX} is not readable as BTF")]
    Decode(#[source] btf::error::Error),
    /// A field is not where any known kernel has it.
    #[error("struct {of} has no field {field}")]
    NoField {
        /// The struct.
        of: &'static str,
        /// The field.
        field: &'static str,
    },
}

pub(super) fn read() -> Result<Offsets, LoadError> {
    std::fs::metadata(VMLINUX).map_err(LoadError::NoBtf)?;
    let btf = Btf::from_file(VMLINUX).map_err(OffsetsError::Decode)?;
    Ok(Offsets {
        sk_protocol: offset(&btf, "sock", "sk_protocol")?,
        skc_family: offset(&btf, "sock_common", "skc_family")?,
        skc_num: offset(&btf, "sock_common", "skc_num")?,
        skc_dport: offset(&btf, "sock_common", "skc_dport")?,
        skc_rcv_saddr: offset(&btf, "sock_common", "skc_rcv_saddr")?,
        skc_v6_rcv_saddr: offset(&btf, "sock_common", "skc_v6_rcv_saddr")?,
        skc_daddr: offset(&btf, "sock_common", "skc_daddr")?,
        skc_v6_daddr: offset(&btf, "sock_common", "skc_v6_daddr")?,
        skc_net: offset(&btf, "sock_common", "skc_net")?,
        inet_sport: offset(&btf, "inet_sock", "inet_sport")?,
        net_inum: offset(&btf, "net", "ns")? + offset(&btf, "ns_common", "inum")?,
        tcp_bytes_sent: offset(&btf, "tcp_sock", "bytes_sent")?,
    })
}

/// Byte offset of a field, also inside anonymous structs and unions.
fn offset(btf: &Btf, of: &'static str, field: &'static str) -> Result<u32, OffsetsError> {
    let missing = || OffsetsError::NoField { of, field };
    let found = btf.get_type_by_name(of).map_err(|_| missing())?;
    let bits = bit_offset(btf, &found.base_type, field, 4).ok_or_else(missing)?;
    Ok(bits / 8)
}

fn bit_offset(btf: &Btf, of: &Type, field: &str, depth: u32) -> Option<u32> {
    let (Type::Struct(composite) | Type::Union(composite)) = of else {
        return None;
    };
    composite
        .members
        .iter()
        .find_map(|member| match member.name.as_deref() {
            Some(name) if name == field => Some(member.offset),
            None | Some("") if depth > 0 => {
                let inner = btf.get_type_by_id(member.type_id).ok()?;
                Some(member.offset + bit_offset(btf, &inner.base_type, field, depth - 1)?)
            }
            _ => None,
        })
}

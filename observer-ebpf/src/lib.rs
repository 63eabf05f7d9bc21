//! What the BPF programs and user space agree on: map keys and values.
#![no_std]

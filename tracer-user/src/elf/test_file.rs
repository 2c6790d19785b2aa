//! A minimal executable for tests: one segment of code.

const HEADER: u64 = 64;
const PROGRAM_HEADER: u64 = 56;

/// An executable whose only segment holds `code` at `vaddr`.
pub fn with_code(vaddr: u64, code: &[u8]) -> Vec<u8> {
    let offset = HEADER + PROGRAM_HEADER;
    let mut file = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    // ET_EXEC, EM_X86_64, EV_CURRENT
    file.extend([2, 0, 62, 0, 1, 0, 0, 0]);
    // entry, program headers, no section headers
    for word in [vaddr, HEADER, 0] {
        file.extend(word.to_le_bytes());
    }
    // flags, header sizes, one program header
    file.extend([0, 0, 0, 0, 64, 0, 56, 0, 1, 0, 64, 0, 0, 0, 0, 0]);
    // PT_LOAD, readable and executable
    file.extend([1, 0, 0, 0, 5, 0, 0, 0]);
    let len = code.len() as u64;
    for word in [offset, vaddr, vaddr, len, len, 1] {
        file.extend(word.to_le_bytes());
    }
    file.extend(code);
    file
}

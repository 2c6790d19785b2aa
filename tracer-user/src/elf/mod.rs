//! Object files: what a 64-bit x86 ELF file says about itself, found without symbols where a stripped build has none.
//!
//! Everything here works on bytes that a target chose. Nothing panics, and work is bounded by the length of the file.

mod call_sites;
mod file;
mod functions;
mod load;
mod member_table;
mod method_table;
mod placement;
mod slots;
mod static_type;
mod stub;
mod symbols;
#[cfg(test)]
mod test_file;

pub use call_sites::{CallSite, call_sites};
pub use file::{Elf, ElfError, Linkage, Segment};
pub use load::read_loaded;
pub use member_table::member_table;
pub use method_table::{Method, MethodTable, TableError, find_table, method_tables};
pub use placement::{
    ArgumentRegister, Cost, Placement, PlacementError, calls, place, place_at_entry, strings_used,
};
pub use slots::Pointer;
pub use static_type::{TypeError, static_type};
pub use stub::stubs;
pub use symbols::{is_stripped, symbol};

//! Control loops: each drives one kind toward what its `spec` asks for.

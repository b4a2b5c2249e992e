//! Every kind the server knows, one file each: names, defaults, validation,
//! columns, subresources.

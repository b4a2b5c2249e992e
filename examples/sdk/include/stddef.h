// The types of <stddef.h> that the generated bindings use; there is no libc.
#pragma once
typedef __SIZE_TYPE__ size_t;
#define NULL ((void *)0)

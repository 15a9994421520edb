//! From the loader to Rust: 32 bits without paging, then long mode.
//!
//! ```text
//!   PML4  0    identity ──┐
//!         273  direct map ┴► PDPT 0 ─► PD: 512 × 2 MiB = the first GiB, twice
//! ```
//! QEMU reads the PVH note (Xen's `XEN_ELFNOTE_PHYS32_ENTRY`), jumps there in protected
//! mode and leaves the address of its start info in ebx.

use core::arch::global_asm;

/// What the two maps reach.
pub const MAPPED_BYTES: u64 = 1 << 30;

global_asm!(
    r#"
    .section .note.Xen, "a", @note
    .balign 4
    .long 4, 8, 18
    .asciz "Xen"
    .quad pvh_start

    .section .text.start, "ax", @progbits
    .code32
    .globl pvh_start
pvh_start:
    cli
    cld
    movl $boot_stack_top, %esp
    movl %ebx, %esi
    // 512 pages of 2 MiB: present, writable, large.
    xorl %ecx, %ecx
    movl $0x83, %eax
1:  movl %eax, boot_pd(,%ecx,8)
    addl $0x200000, %eax
    incl %ecx
    cmpl $512, %ecx
    jne 1b
    movl $boot_pd + 3, boot_pdpt
    movl $boot_pdpt + 3, boot_pml4
    movl $boot_pdpt + 3, boot_pml4 + 273 * 8
    // Physical address extension; SSE, which compiled code uses.
    movl %cr4, %eax
    orl $0x620, %eax
    movl %eax, %cr4
    movl $boot_pml4, %eax
    movl %eax, %cr3
    // Long mode, and pages that may not be executed.
    movl $0xc0000080, %ecx
    rdmsr
    orl $0x900, %eax
    wrmsr
    // Paging, write protection for the kernel too (copy-on-write needs it), no FPU traps.
    movl %cr0, %eax
    andl $0xfffffffb, %eax
    orl $0x80010003, %eax
    movl %eax, %cr0
    lgdt boot_gdt_pointer
    ljmp $0x08, $boot_long

    .code64
boot_long:
    movw $0x10, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    xorl %eax, %eax
    movw %ax, %fs
    movw %ax, %gs
    movl $boot_stack_top, %esp
    movl %esi, %edi
    call boot_main
    ud2

    .section .data.boot, "aw", @progbits
    .balign 16
    .globl boot_gdt
boot_gdt:
    .quad 0
    .quad 0x00af9a000000ffff
    .quad 0x00cf92000000ffff
    .quad 0, 0                      // the TSS, filled in later
boot_gdt_end:
boot_gdt_pointer:
    .word boot_gdt_end - boot_gdt - 1
    .quad boot_gdt

    .section .bss.boot, "aw", @nobits
    .balign 4096
    .globl boot_pml4
boot_pml4: .skip 4096
boot_pdpt: .skip 4096
boot_pd: .skip 4096
    .skip 65536
boot_stack_top:
    .text
    "#,
    options(att_syntax)
);

//! The packet as the header walk reads it.

use aya_ebpf::helpers::generated::bpf_xdp_get_buff_len;
use aya_ebpf::programs::{TcContext, XdpContext};
use guard_common::packet::{Field, Reader};

/// The first buffer of an XDP frame, which holds all headers.
pub(crate) struct Linear {
    start: usize,
    end: usize,
}

impl Linear {
    #[inline(always)]
    pub(crate) fn new(context: &XdpContext) -> Self {
        Self { start: context.data(), end: context.data_end() }
    }

    /// Bytes in this buffer.
    #[inline(always)]
    pub(crate) fn length(&self) -> u64 {
        (self.end - self.start) as u64
    }
}

impl Reader for Linear {
    #[inline(always)]
    fn read<F: Field>(&self, offset: usize) -> Option<F> {
        let from = self.start + offset;
        if from + size_of::<F>() > self.end {
            return None;
        }
        // SAFETY: the field lies within the buffer, as was just compared, which the
        // verifier proves again; every `Field` is made of integers, for which any bytes do.
        Some(unsafe { (from as *const F).read_unaligned() })
    }
}

/// Bytes of the whole frame, over all its buffers.
#[inline(always)]
pub(crate) fn frame_length(context: &XdpContext) -> u64 {
    // SAFETY: the context is the one that the kernel called this program with.
    unsafe { bpf_xdp_get_buff_len(context.ctx) }
}

/// Number of the interface that a frame came in on.
#[inline(always)]
pub(crate) fn interface(context: &XdpContext) -> u32 {
    // SAFETY: the context is the one that the kernel called this program with.
    unsafe { (*context.ctx).ingress_ifindex }
}

/// A socket buffer, whose headers need not lie in one piece.
pub(crate) struct Buffer<'a> {
    context: &'a TcContext,
}

impl<'a> Buffer<'a> {
    #[inline(always)]
    pub(crate) fn new(context: &'a TcContext) -> Self {
        Self { context }
    }

    /// Bytes of the packet, the link layer's header included.
    #[inline(always)]
    pub(crate) fn length(&self) -> u64 {
        u64::from(self.context.len())
    }

    /// Number of the interface that the packet came in on.
    #[inline(always)]
    pub(crate) fn interface(&self) -> u32 {
        // SAFETY: the context is the one that the kernel called this program with.
        unsafe { (*self.context.skb.skb).ifindex }
    }
}

impl Reader for Buffer<'_> {
    #[inline(always)]
    fn read<F: Field>(&self, offset: usize) -> Option<F> {
        self.context.load(offset).ok()
    }
}

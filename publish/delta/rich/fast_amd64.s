#include "textflag.h"

// An instruction multiplies only pairs of 16 bits, and adds the two products. So an input x is laid into pairs, and a
// weight w of 32 bits is one: w = 65536*high + low, low signed, where high is the upper half of w+32768.

// ADDROW adds the products of the inputs in X0 (x, 0) and X1 (0, x) with four weights to the sums for low and high.
#define ADDROW(w, low, high) \
	MOVOU   (w)(AX*1), X8 \
	MOVO    X8, X9        \
	PADDL   X7, X9        \
	PMADDWL X0, X8        \
	PMADDWL X1, X9        \
	PADDL   X8, low       \
	PADDL   X9, high

// ADDUP makes one vector of the sums of a, b and c; it uses X0 and X1.
#define ADDUP(a, b, c) \
	MOVO       a, X0  \
	PUNPCKLLQ  b, a   \
	PUNPCKHLQ  b, X0  \
	PADDL      X0, a  \
	MOVO       c, X1  \
	PSRLO      $8, X1 \
	PADDL      X1, c  \
	MOVO       c, X1  \
	PSRLO      $4, X1 \
	PADDL      X1, c  \
	MOVO       a, X1  \
	PUNPCKLQDQ c, a   \
	PSRLO      $8, X1 \
	PADDL      X1, a

// func weigh(in, w0, w1, w2 *row, n int, sums *[layers + 1]int32)
TEXT ·weigh(SB), NOSPLIT, $0-48
	MOVQ in+0(FP), SI
	MOVQ w0+8(FP), R8
	MOVQ w1+16(FP), R9
	MOVQ w2+24(FP), R10
	MOVQ n+32(FP), CX
	MOVQ sums+40(FP), DI
	SHLQ $2, CX
	XORL AX, AX
	MOVL $32768, DX
	MOVQ DX, X7
	PSHUFL $0, X7, X7
	PXOR X2, X2
	PXOR X3, X3
	PXOR X4, X4
	PXOR X5, X5
	PXOR X6, X6
	PXOR X10, X10

weighFour:
	MOVOU (SI)(AX*1), X1
	PSLLL $16, X1
	MOVO  X1, X0
	PSRLL $16, X0
	ADDROW(R8, X2, X5)
	ADDROW(R9, X3, X6)
	ADDROW(R10, X4, X10)
	ADDQ  $16, AX
	CMPQ  AX, CX
	JLT   weighFour

	ADDUP(X2, X3, X4)
	ADDUP(X5, X6, X10)
	PSRAL $16, X2
	PADDL X5, X2

	// Within the limits: first of 16 bits, then ours.
	PACKSSLW X2, X2
	MOVL     $0x0bff0bff, DX
	MOVQ     DX, X0
	PSHUFL   $0, X0, X0
	PMINSW   X0, X2
	PXOR     X1, X1
	PSUBW    X0, X1
	PMAXSW   X1, X2
	PUNPCKLWL X2, X2
	PSRAL    $16, X2
	MOVOU    X2, (DI)
	RET

// MOVEROW moves four weights by the error e, pairs (error, 128): with the inputs in X0 (x, 64), x*error + 1<<13.
#define MOVEROW(w, e) \
	MOVOU   (w)(AX*1), X2 \
	MOVO    X0, X1        \
	PMADDWL e, X1         \
	PSRAL   $14, X1       \
	PADDL   X1, X2        \
	MOVOU   X2, (w)(AX*1)

// ERROR lays an error into pairs.
#define ERROR(from, to) \
	MOVWLZX from, DX    \
	ORL     $0x800000, DX \
	MOVQ    DX, to      \
	PSHUFL  $0, to, to

// func follow(in, w0, w1, w2 *row, n int, e0, e1, e2 int32)
TEXT ·follow(SB), NOSPLIT, $0-52
	MOVQ in+0(FP), SI
	MOVQ w0+8(FP), R8
	MOVQ w1+16(FP), R9
	MOVQ w2+24(FP), R10
	MOVQ n+32(FP), CX
	SHLQ $2, CX
	XORL AX, AX
	MOVL e0+40(FP), R11
	MOVL e1+44(FP), R12
	MOVL e2+48(FP), R13
	ERROR(R11, X4)
	ERROR(R12, X5)
	ERROR(R13, X6)
	MOVL $0x400000, DX
	MOVQ DX, X7
	PSHUFL $0, X7, X7

followFour:
	MOVOU (SI)(AX*1), X0
	PSLLL $16, X0
	PSRLL $16, X0
	POR   X7, X0
	MOVEROW(R8, X4)
	MOVEROW(R9, X5)
	MOVEROW(R10, X6)
	ADDQ  $16, AX
	CMPQ  AX, CX
	JLT   followFour
	RET

// func fetch(a, b *uint16)
TEXT ·fetch(SB), NOSPLIT, $0-16
	MOVQ a+0(FP), AX
	MOVQ b+8(FP), BX
	PREFETCHT0 (AX)
	PREFETCHT0 (BX)
	RET

// func fetchAll(first unsafe.Pointer, size int, at []uint32)
TEXT ·fetchAll(SB), NOSPLIT, $0-40
	MOVQ first+0(FP), AX
	MOVQ size+8(FP), BX
	MOVQ at_base+16(FP), SI
	MOVQ at_len+24(FP), CX

fetchNext:
	MOVL (SI), DX
	ADDQ $4, SI
	IMULQ BX, DX
	PREFETCHT0 (AX)(DX*1)
	DECQ CX
	JNZ fetchNext
	RET

// func ask(cells *[maxInputs]*counter, at, n int, refine *meanings, stretch *[1 << 12]int16, in *row, meant *[maxInputs]uint16)
TEXT ·ask(SB), NOSPLIT, $0-56
	MOVQ cells+0(FP), BX
	MOVQ at+8(FP), R9
	MOVQ n+16(FP), CX
	MOVQ refine+24(FP), DX
	MOVQ stretch+32(FP), SI
	MOVQ in+40(FP), DI
	MOVQ meant+48(FP), R12
	XORL AX, AX

askNext:
	MOVQ    (BX)(AX*8), R8
	MOVWLZX (R8)(R9*2), R10
	MOVL    $4095, R11          // all ones for a counter that was used, else zero
	SUBL    R10, R11
	SARL    $31, R11
	SHRL    $7, R10
	MOVW    R10, (R12)(AX*2)
	MOVWLZX (DX)(R10*2), R13
	ADDQ    $1024, DX
	SHRL    $4, R13
	MOVWLSX (SI)(R13*2), R13
	ANDL    R11, R13
	MOVL    R13, (DI)(AX*4)
	INCQ    AX
	CMPQ    AX, CX
	JLT     askNext
	RET

// func learn(cells *[maxInputs]*counter, at, n int, refine *meanings, meant *[maxInputs]uint16, bit int)
TEXT ·learn(SB), NOSPLIT, $0-48
	MOVQ cells+0(FP), BX
	MOVQ at+8(FP), R9
	MOVQ n+16(FP), CX
	MOVQ refine+24(FP), DX
	MOVQ meant+32(FP), R12
	LEAQ ·rates(SB), SI
	XORL AX, AX
	CMPQ bit+40(FP), $0
	JEQ  fallNext

riseNext:
	MOVWLZX (R12)(AX*2), R10
	MOVWLZX (DX)(R10*2), R11
	MOVL    R11, R13
	XORL    $0xffff, R13
	SHRL    $6, R13
	ADDL    R13, R11
	MOVW    R11, (DX)(R10*2)
	ADDQ    $1024, DX
	MOVQ    (BX)(AX*8), R8
	MOVWLZX (R8)(R9*2), R10
	MOVL    R10, R11
	SHRL    $12, R11
	MOVL    R10, R13
	NOTL    R13
	ANDL    $0xfff, R13
	IMULL   (SI)(R11*8), R13
	SHRL    $16, R13
	ADDL    R13, R10
	ADDL    4(SI)(R11*8), R10
	MOVW    R10, (R8)(R9*2)
	INCQ    AX
	CMPQ    AX, CX
	JLT     riseNext
	RET

fallNext:
	MOVWLZX (R12)(AX*2), R10
	MOVWLZX (DX)(R10*2), R11
	LEAL    63(R11), R13
	SHRL    $6, R13
	SUBL    R13, R11
	MOVW    R11, (DX)(R10*2)
	ADDQ    $1024, DX
	MOVQ    (BX)(AX*8), R8
	MOVWLZX (R8)(R9*2), R10
	MOVL    R10, R11
	SHRL    $12, R11
	MOVL    R10, R13
	ANDL    $0xfff, R13
	IMULL   (SI)(R11*8), R13
	ADDL    $0xffff, R13
	SHRL    $16, R13
	SUBL    R13, R10
	ADDL    4(SI)(R11*8), R10
	MOVW    R10, (R8)(R9*2)
	INCQ    AX
	CMPQ    AX, CX
	JLT     fallNext
	RET

package sign

import (
	"crypto/sha512"
	"math/big"
	"slices"
)

// Slow arithmetic on the curve, for signatures that no library would make. RFC 8032 §5.1.

type point struct{ x, y *big.Int }

type curve struct{ p, d, l *big.Int }

func edwards() curve {
	p := new(big.Int).Lsh(big.NewInt(1), 255)
	p.Sub(p, big.NewInt(19))
	d := new(big.Int).ModInverse(big.NewInt(121666), p)
	d.Mul(d, big.NewInt(-121665)).Mod(d, p)
	l, _ := new(big.Int).SetString("27742317777372353535851937790883648493", 10)
	l.Add(l, new(big.Int).Lsh(big.NewInt(1), 252))
	return curve{p, d, l}
}

func (c curve) mod(n *big.Int) *big.Int { return n.Mod(n, c.p) }

func (c curve) add(a, b point) point {
	mul := func(x, y *big.Int) *big.Int { return c.mod(new(big.Int).Mul(x, y)) }
	cross := mul(c.d, mul(mul(a.x, b.x), mul(a.y, b.y)))
	one := big.NewInt(1)
	x := new(big.Int).Add(mul(a.x, b.y), mul(a.y, b.x))
	y := new(big.Int).Add(mul(a.y, b.y), mul(a.x, b.x))
	x = mul(x, new(big.Int).ModInverse(c.mod(new(big.Int).Add(one, cross)), c.p))
	y = mul(y, new(big.Int).ModInverse(c.mod(new(big.Int).Sub(one, cross)), c.p))
	return point{x, y}
}

func (c curve) mul(k *big.Int, a point) point {
	sum := point{big.NewInt(0), big.NewInt(1)}
	for i := k.BitLen() - 1; i >= 0; i-- {
		sum = c.add(sum, sum)
		if k.Bit(i) == 1 {
			sum = c.add(sum, a)
		}
	}
	return sum
}

func (c curve) encode(a point) []byte {
	b := make([]byte, 32)
	a.y.FillBytes(b)
	slices.Reverse(b)
	b[31] |= byte(a.x.Bit(0)) << 7
	return b
}

// decode finds x for the canonical y of b.
func (c curve) decode(b []byte) point {
	be := slices.Clone(b)
	slices.Reverse(be)
	sign := uint(be[0] >> 7)
	be[0] &= 0x7f
	y := new(big.Int).SetBytes(be)
	y2 := c.mod(new(big.Int).Mul(y, y))
	u := new(big.Int).Sub(y2, big.NewInt(1))
	v := new(big.Int).Add(c.mod(new(big.Int).Mul(c.d, y2)), big.NewInt(1))
	x := new(big.Int).ModSqrt(c.mod(u.Mul(u, v.ModInverse(v, c.p))), c.p)
	if x.Bit(0) != sign {
		x.Sub(c.p, x)
	}
	return point{x, y}
}

func (c curve) base() point {
	b := make([]byte, 32)
	for i := range b {
		b[i] = 0x66
	}
	b[0] = 0x58
	return c.decode(b)
}

// challenge is the k of a signature.
func (c curve) challenge(r, a, message []byte) *big.Int {
	sum := sha512.Sum512(slices.Concat(r, a, message))
	le := sum[:]
	slices.Reverse(le)
	k := new(big.Int).SetBytes(le)
	return k.Mod(k, c.l)
}

func littleEndian(n *big.Int) []byte {
	b := make([]byte, 32)
	n.FillBytes(b)
	slices.Reverse(b)
	return b
}

// order8 is a point of order 8.
func (c curve) order8() point {
	return c.decode(fromHex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"))
}

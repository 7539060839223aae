package hermes

import (
	"slices"
	"strconv"
	"strings"
)

// operand is one operand of an instruction: what it means and how many bytes it has.
type operand struct {
	kind  byte
	width byte
}

// Kinds of operands.
const (
	plain       = 'p'
	stringID    = 's'
	functionID  = 'f'
	keysAt      = 'k' // place in the buffer of object keys
	valuesAt    = 'v' // place in the buffer of object values
	arrayAt     = 'a' // place in the buffer of arrays
	regExpID    = 'x'
	target      = 't' // distance to another instruction
	literals    = 'n' // how many there are from the places that follow on
	jumpTableAt = 'j' // distance to a table behind the instructions
	shapeID     = 'o' // what names an object has, in the table of shapes
	casesAt     = 'w' // distance to a table of strings and where each leads; the last operand counts them
)

// version says what the instructions of one version of the bytecode look like. An opcode that it does not know has
// length 0.
type version struct {
	names    [256]string
	operands [256][]operand
	numbered [256][]placed // of the operands those that the rewriting cares for
	length   [256]byte     // bytes, with the opcode
	passes   [256]pass
	kept     [256]pass // where strings keep their numbers
	recent   bool      // the file is laid out as from 98 on
	caches   int       // bytes for caches in a large header of such a file
}

// placed is an operand and where it is in its instruction.
type placed struct {
	operand
	at int
}

// versionOf gives the description of a version of the bytecode, or nil.
func versionOf(n uint32) (v *version) {
	switch n {
	case 98, 99:
		v = recentVersion(n)
	case 96:
		v = parseVersion(instructions96)
	case 94:
		v = parseVersion(instructions96 + directEval94)
	case 89, 90:
		v = parseVersion(instructions96 + directEval94).without(53).without(51)
	default:
		return nil
	}
	for code, numbered := range v.numbered {
		v.passes[code] = passOf(v.length[code], numbered)
		v.kept[code] = passOf(v.length[code], slices.DeleteFunc(slices.Clone(numbered), func(o placed) bool { return o.kind == stringID }))
	}
	return v
}

// pass says how an instruction is passed without a look at its operands: what it has, where that is, and its length.
type pass uint32

// What instructions have that are passed. All others take more care.
const (
	passNever = iota
	passPlain // nothing to care for
	passString1
	passString2
	passFunction
)

func (p pass) kind() int    { return int(p >> 16) }
func (p pass) operand() int { return int(p >> 8 & 0xff) }
func (p pass) length() int  { return int(p & 0xff) }

func passOf(length byte, numbered []placed) pass {
	kind, at := passNever, 0
	if length > 0 && len(numbered) == 0 {
		kind = passPlain
	}
	if len(numbered) == 1 {
		at = numbered[0].at
		switch numbered[0].operand {
		case operand{stringID, 1}:
			kind = passString1
		case operand{stringID, 2}:
			kind = passString2
		case operand{functionID, 2}:
			kind = passFunction
		}
	}
	return pass(kind<<16 | at<<8 | int(length))
}

// directEval94 is the only instruction that versions up to 94 were seen to write in another way than 96.
const directEval94 = "94 DirectEval 1 1\n"

// without gives the version in which one opcode is not there yet, and those behind it are one less. Versions 89 and 90 lack
// two of 94; their listings and files agree in all else.
func (v *version) without(code int) *version {
	for k := code; k < 255; k++ {
		v.names[k], v.length[k], v.operands[k], v.numbered[k] = v.names[k+1], v.length[k+1], v.operands[k+1], v.numbered[k+1]
	}
	return v
}

// parseVersion reads lines of opcode, name and operands; the last line of an opcode counts. An operand is the number of its bytes, with its kind before it
// unless it is plain.
func parseVersion(text string) *version {
	v := &version{}
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		code, err := strconv.ParseUint(fields[0], 10, 8)
		if err != nil {
			return nil
		}
		v.names[code], v.length[code] = fields[1], 1
		v.operands[code], v.numbered[code] = nil, nil
		for _, f := range fields[2:] {
			o := operand{plain, f[len(f)-1] - '0'}
			if len(f) == 2 {
				o.kind = f[0]
			}
			v.operands[code] = append(v.operands[code], o)
			if o.kind != plain && o.kind != target {
				v.numbered[code] = append(v.numbered[code], placed{o, int(v.length[code])})
			}
			v.length[code] += o.width
		}
	}
	return v
}

// instructions96 are those of bytecode version 96 that the compiler was seen to write: read off its own listings of
// compiled programs, with and without names, beside the bytes of the same files.
const instructions96 = `
1 NewObjectWithBuffer 1 2 n2 k2 v2
2 NewObjectWithBufferLong 1 2 n2 k4 v4
3 NewObject 1
4 NewObjectWithParent 1 1
5 NewArrayWithBuffer 1 2 n2 a2
6 NewArrayWithBufferLong 1 2 n2 a4
7 NewArray 1 2
8 Mov 1 1
10 Negate 1 1
11 Not 1 1
12 BitNot 1 1
13 TypeOf 1 1
14 Eq 1 1 1
15 StrictEq 1 1 1
16 Neq 1 1 1
17 StrictNeq 1 1 1
18 Less 1 1 1
19 LessEq 1 1 1
20 Greater 1 1 1
21 GreaterEq 1 1 1
22 Add 1 1 1
23 AddN 1 1 1
24 Mul 1 1 1
25 MulN 1 1 1
26 Div 1 1 1
27 DivN 1 1 1
28 Mod 1 1 1
29 Sub 1 1 1
30 SubN 1 1 1
31 LShift 1 1 1
32 RShift 1 1 1
33 URshift 1 1 1
34 BitAnd 1 1 1
35 BitXor 1 1 1
36 BitOr 1 1 1
37 Inc 1 1
38 Dec 1 1
39 InstanceOf 1 1 1
40 IsIn 1 1 1
41 GetEnvironment 1 1
42 StoreToEnvironment 1 1 1
43 StoreToEnvironmentL 1 2 1
44 StoreNPToEnvironment 1 1 1
45 StoreNPToEnvironmentL 1 2 1
46 LoadFromEnvironment 1 1 1
47 LoadFromEnvironmentL 1 1 2
48 GetGlobalObject 1
49 GetNewTarget 1
50 CreateEnvironment 1
52 DeclareGlobalVar s4
54 GetByIdShort 1 1 1 s1
55 GetById 1 1 1 s2
56 GetByIdLong 1 1 1 s4
57 TryGetById 1 1 1 s2
58 TryGetByIdLong 1 1 1 s4
59 PutById 1 1 1 s2
60 PutByIdLong 1 1 1 s4
61 TryPutById 1 1 1 s2
62 TryPutByIdLong 1 1 1 s4
63 PutNewOwnByIdShort 1 1 s1
64 PutNewOwnById 1 1 s2
65 PutNewOwnByIdLong 1 1 s4
68 PutOwnByIndex 1 1 1
69 PutOwnByIndexL 1 1 4
70 PutOwnByVal 1 1 1 1
71 DelById 1 1 s2
73 GetByVal 1 1 1
74 PutByVal 1 1 1
75 DelByVal 1 1 1
76 PutOwnGetterSetterByVal 1 1 1 1 1
77 GetPNameList 1 1 1 1
78 GetNextPName 1 1 1 1 1
79 Call 1 1 1
80 Construct 1 1 1
81 Call1 1 1 1
83 Call2 1 1 1 1
84 Call3 1 1 1 1 1
85 Call4 1 1 1 1 1 1
89 CallBuiltin 1 1 1
91 GetBuiltinClosure 1 1
92 Ret 1
93 Catch 1
94 DirectEval 1 1 1
95 Throw 1
97 Debugger
98 AsyncBreakCheck
100 CreateClosure 1 1 f2
101 CreateClosureLongIndex 1 1 f4
102 CreateGeneratorClosure 1 1 f2
103 CreateGeneratorClosureLongIndex 1 1 f4
104 CreateAsyncClosure 1 1 f2
105 CreateAsyncClosureLongIndex 1 1 f4
106 CreateThis 1 1 1
107 SelectObject 1 1 1
108 LoadParam 1 1
110 LoadConstUInt8 1 1
111 LoadConstInt 1 4
112 LoadConstDouble 1 8
113 LoadConstBigInt 1 2
115 LoadConstString 1 s2
116 LoadConstStringLongIndex 1 s4
118 LoadConstUndefined 1
119 LoadConstNull 1
120 LoadConstTrue 1
121 LoadConstFalse 1
122 LoadConstZero 1
124 LoadThisNS 1
125 ToNumber 1 1
126 ToNumeric 1 1
127 ToInt32 1 1
128 AddEmptyString 1 1
129 GetArgumentsPropByVal 1 1 1
130 GetArgumentsLength 1 1
131 ReifyArguments 1
132 CreateRegExp 1 s4 s4 x4
133 SwitchImm 1 j4 t4 4 4
134 StartGenerator
135 ResumeGenerator 1 1
136 CompleteGenerator
137 CreateGenerator 1 1 f2
138 CreateGeneratorLongIndex 1 1 f4
139 IteratorBegin 1 1
140 IteratorNext 1 1 1
141 IteratorClose 1 1
142 Jmp t1
143 JmpLong t4
144 JmpTrue t1 1
145 JmpTrueLong t4 1
146 JmpFalse t1 1
147 JmpFalseLong t4 1
148 JmpUndefined t1 1
149 JmpUndefinedLong t4 1
150 SaveGenerator t1
151 SaveGeneratorLong t4
152 JLess t1 1 1
153 JLessLong t4 1 1
154 JNotLess t1 1 1
155 JNotLessLong t4 1 1
156 JLessN t1 1 1
157 JLessNLong t4 1 1
158 JNotLessN t1 1 1
159 JNotLessNLong t4 1 1
160 JLessEqual t1 1 1
161 JLessEqualLong t4 1 1
162 JNotLessEqual t1 1 1
163 JNotLessEqualLong t4 1 1
164 JLessEqualN t1 1 1
165 JLessEqualNLong t4 1 1
166 JNotLessEqualN t1 1 1
167 JNotLessEqualNLong t4 1 1
168 JGreater t1 1 1
169 JGreaterLong t4 1 1
170 JNotGreater t1 1 1
171 JNotGreaterLong t4 1 1
172 JGreaterN t1 1 1
173 JGreaterNLong t4 1 1
174 JNotGreaterN t1 1 1
175 JNotGreaterNLong t4 1 1
176 JGreaterEqual t1 1 1
177 JGreaterEqualLong t4 1 1
178 JNotGreaterEqual t1 1 1
179 JNotGreaterEqualLong t4 1 1
180 JGreaterEqualN t1 1 1
181 JGreaterEqualNLong t4 1 1
182 JNotGreaterEqualN t1 1 1
183 JNotGreaterEqualNLong t4 1 1
184 JEqual t1 1 1
185 JEqualLong t4 1 1
186 JNotEqual t1 1 1
187 JNotEqualLong t4 1 1
188 JStrictEqual t1 1 1
189 JStrictEqualLong t4 1 1
190 JStrictNotEqual t1 1 1
191 JStrictNotEqualLong t4 1 1
`

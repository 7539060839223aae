package hermes

// recentVersion gives the description of 98 and 99, which the engine's second generation writes. Its files differ in more
// than instructions: a function header has 12 bytes, and objects are built from a table of shapes.
func recentVersion(n uint32) *version { return recentWith(n, "") }

// comparedVersion is recentVersion with the instructions that are known only where programs are compared.
func comparedVersion(n uint32) *version { return recentWith(n, compared98) }

func recentWith(n uint32, more string) *version {
	v := parseVersion(instructions98 + more)
	v.caches = 4
	if n == 99 {
		v.caches = 3
		v.without(15).with(4)
		v.with(157)
		v.names[157], v.length[157], v.operands[157] = "ToUint32", 3, []operand{{plain, 1}, {plain, 1}}
	}
	v.recent = true
	return v
}

// with gives the version in which those from an opcode on are one more, and that one is not known.
func (v *version) with(code int) *version {
	for k := 255; k > code; k-- {
		v.names[k], v.length[k], v.operands[k], v.numbered[k] = v.names[k-1], v.length[k-1], v.operands[k-1], v.numbered[k-1]
	}
	v.names[code], v.length[code], v.operands[code], v.numbered[code] = "", 0, nil, nil
	return v
}

// instructions98 are those of bytecode version 98 that the compiler was seen to write, read off like those of 96.
const instructions98 = `
1 NewObjectWithBuffer 1 o2 a2
3 NewObjectWithBufferAndParent 1 1 o4 a4
4 NewObject 1
5 NewObjectWithParent 1 1
6 NewArrayWithBuffer 1 2 n2 a2
8 NewArray 1 2
15 CacheNewObject 1 1 4 1
16 Mov 1 1
17 MovLong 4 4
18 Negate 1 1
19 Not 1 1
20 BitNot 1 1
21 TypeOf 1 1
22 Eq 1 1 1
23 StrictEq 1 1 1
24 Neq 1 1 1
25 StrictNeq 1 1 1
26 Less 1 1 1
27 LessEq 1 1 1
28 Greater 1 1 1
29 GreaterEq 1 1 1
30 Add 1 1 1
31 AddN 1 1 1
32 AddS 1 1 1
33 Mul 1 1 1
34 MulN 1 1 1
35 Div 1 1 1
36 DivN 1 1 1
37 Mod 1 1 1
38 Sub 1 1 1
39 SubN 1 1 1
40 LShift 1 1 1
41 RShift 1 1 1
42 URshift 1 1 1
43 BitAnd 1 1 1
44 BitXor 1 1 1
45 BitOr 1 1 1
46 Inc 1 1
47 Dec 1 1
48 InstanceOf 1 1 1
49 IsIn 1 1 1
50 PrivateIsIn 1 1 1 1
51 TypeOfIs 1 1 2
52 GetParentEnvironment 1 1
53 GetEnvironment 1 1 1
54 GetClosureEnvironment 1 1
55 StoreToEnvironment 1 1 1
56 StoreToEnvironmentL 1 2 1
57 StoreNPToEnvironment 1 1 1
58 StoreNPToEnvironmentL 1 2 1
59 LoadFromEnvironment 1 1 1
60 LoadFromEnvironmentL 1 1 2
61 GetGlobalObject 1
62 GetNewTarget 1
63 LoadParentNoTraps 1 1
64 CreateFunctionEnvironment 1 1
65 CreateTopLevelEnvironment 1 4
66 CreateEnvironment 1 1 4
67 DeclareGlobalVar s4
68 GetByIdShort 1 1 1 s1
69 GetById 1 1 1 s2
71 GetByIdWithReceiverLong 1 1 1 1 s4
72 TryGetById 1 1 1 s2
74 PutByIdLoose 1 1 1 s2
75 PutByIdStrict 1 1 1 s2
79 TryPutByIdStrict 1 1 1 s2
82 PutOwnBySlotIdx 1 1 1
86 DefineOwnById 1 1 1 s2
88 DefineOwnByIndex 1 1 1
90 DefineOwnInDenseArray 1 1 1
92 DefineOwnByVal 1 1 1 1
93 GetByVal 1 1 1
94 GetByIndex 1 1 1
96 PutByValLoose 1 1 1
97 PutByValStrict 1 1 1
99 DelByVal 1 1 1 1
100 AddOwnPrivateBySym 1 1 1
101 GetOwnPrivateBySym 1 1 1 1
102 PutOwnPrivateBySym 1 1 1 1
103 DefineOwnGetterSetterByVal 1 1 1 1 1
104 GetPNameList 1 1 1 1
105 GetNextPName 1 1 1 1 1
106 Call 1 1 1
107 Construct 1 1 1
108 Call1 1 1 1
109 CallWithNewTarget 1 1 1 1
110 Call2 1 1 1 1
111 Call3 1 1 1 1 1
112 Call4 1 1 1 1 1 1
115 CallBuiltin 1 1 1
117 GetBuiltinClosure 1 1
118 Ret 1
119 Catch 1
120 DirectEval 1 1 1
121 Throw 1
122 ThrowIfEmpty 1 1
124 ThrowIfThisInitialized 1
125 Debugger
128 CreateBaseClass 1 1 1 f2
130 CreateDerivedClass 1 1 1 1 f2
132 CreateClosure 1 1 f2
134 CreateThisForNew 1 1 1
135 CreateThisForSuper 1 1 1 1
136 SelectObject 1 1 1
137 LoadParam 1 1
139 LoadConstUInt8 1 1
140 LoadConstInt 1 4
141 LoadConstDouble 1 8
142 LoadConstBigInt 1 2
144 LoadConstString 1 s2
146 LoadConstEmpty 1
147 LoadConstUndefined 1
148 LoadConstNull 1
149 LoadConstTrue 1
150 LoadConstFalse 1
151 LoadConstZero 1
152 CoerceThisNS 1 1
153 LoadThisNS 1
154 ToNumber 1 1
155 ToNumeric 1 1
156 ToInt32 1 1
157 AddEmptyString 1 1
158 CreatePrivateName 1 s4
159 GetArgumentsPropByValLoose 1 1 1
160 GetArgumentsPropByValStrict 1 1 1
161 GetArgumentsLength 1 1
162 ReifyArgumentsStrict 1
163 ReifyArgumentsLoose 1
164 ToPropertyKey 1 1
165 CreateRegExp 1 s4 s4 x4
166 UIntSwitchImm 1 j4 t4 4 4
167 StringSwitchImm 1 4 w4 t4 4
168 CreateGenerator 1 1 f2
170 IteratorBegin 1 1
171 IteratorNext 1 1 1
172 IteratorClose 1 1
174 Jmp t1
175 JmpLong t4
176 JmpTrue t1 1
177 JmpTrueLong t4 1
178 JmpFalse t1 1
179 JmpFalseLong t4 1
180 JmpUndefined t1 1
181 JmpUndefinedLong t4 1
182 JmpTypeOfIs t4 1 2
183 JLess t1 1 1
184 JLessLong t4 1 1
185 JNotLess t1 1 1
186 JNotLessLong t4 1 1
187 JLessN t1 1 1
188 JLessNLong t4 1 1
189 JNotLessN t1 1 1
190 JNotLessNLong t4 1 1
191 JLessEqual t1 1 1
192 JLessEqualLong t4 1 1
193 JNotLessEqual t1 1 1
194 JNotLessEqualLong t4 1 1
195 JLessEqualN t1 1 1
196 JLessEqualNLong t4 1 1
197 JNotLessEqualN t1 1 1
198 JNotLessEqualNLong t4 1 1
199 JGreater t1 1 1
200 JGreaterLong t4 1 1
201 JNotGreater t1 1 1
202 JNotGreaterLong t4 1 1
203 JGreaterEqual t1 1 1
204 JGreaterEqualLong t4 1 1
205 JNotGreaterEqual t1 1 1
207 JEqual t1 1 1
208 JEqualLong t4 1 1
209 JNotEqual t1 1 1
210 JNotEqualLong t4 1 1
211 JStrictEqual t1 1 1
212 JStrictEqualLong t4 1 1
213 JStrictNotEqual t1 1 1
214 JStrictNotEqualLong t4 1 1
215 JmpBuiltinIs t1 1 1
`

// compared98 are more instructions of version 98. Rewriting does without them for ever: with them a file that has any would
// have another rewritten form than the one that patches were made of.
const compared98 = `15 CacheNewObject 1 1 o4 1
70 GetByIdLong 1 1 1 s4
73 TryGetByIdLong 1 1 1 s4
81 TryPutByIdStrictLong 1 1 1 s4
87 DefineOwnByIdLong 1 1 1 s4
145 LoadConstStringLongIndex 1 s4
206 JNotGreaterEqualLong t4 1 1
`

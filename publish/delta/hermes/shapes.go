package hermes

// shapeSize gives how many names the objects of a shape have.
func (w *rewriter) shapeSize(id uint32) uint32 {
	if int64(id) >= int64(w.shapes.size/8) {
		return 0
	}
	return w.far.number(w.shapes.at+8*int(id)+4, 4)
}

// noteShapes keeps the runs of literals that shapes name.
func (w *rewriter) noteShapes() {
	for at := w.shapes.at; at < w.shapes.end(); at += 8 {
		w.note(keysAt, w.number(at, 4), w.number(at+4, 4))
	}
}

// renumberCases renumbers the strings that the switch at a place tells apart: a table of 8 bytes for each, string and
// distance, which lies behind the instructions. It ends when left are seen, and gives how many are left then.
func (w *rewriter) renumberCases(at, operandAt, left int) int {
	const counted = 8 // bytes behind the operand: the place where others go, then how many strings there are
	table := (at + int(w.number(operandAt, 4)) + 3) &^ 3
	n := min(int(min(w.number(operandAt+counted, 4), MaxFile)), left)
	for ; n > 0 && table >= w.code.at && table+8 <= w.code.end(); n-- {
		w.renumberIn(w.far, table, 4)
		table += 8
		left--
	}
	return left
}

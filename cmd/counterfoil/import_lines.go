package main

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// maxImportLine is the longest line that is imported, in bytes, and the longest record
// of several lines.
const maxImportLine = 1 << 20

// errImportLineLong is why a longer one is refused.
var errImportLineLong = fmt.Errorf("it is longer than %d bytes", maxImportLine)

// importLine is a record of the file: what it says, or why it cannot be read.
type importLine struct {
	number  int // of the line it begins in, from 1
	members []importMember
	refusal error
}

// importMember is a member of a JSON object or a cell of a CSV record that says
// something: neither null nor an empty cell.
type importMember struct {
	name  string
	value any // csvCell; or string, json.Number, bool, []any or map[string]any
}

// importSource reads records one by one; the error is io.EOF at the end, or a fault.
type importSource interface{ next() (importLine, error) }

// lineReader reads lines: without their ends (LF or CR LF), and without the byte order mark.
type lineReader struct {
	in     *bufio.Reader
	number int
}

// next returns the next line. A line that is too long is read to its end, and cut.
func (r *lineReader) next() (text []byte, long bool, err error) {
	for {
		part, err := r.in.ReadSlice('\n')
		long = long || len(text)+len(part) > maxImportLine+len("\r\n")
		if !long {
			text = append(text, part...)
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case err != nil && (!errors.Is(err, io.EOF) || len(text) == 0 && !long):
			return nil, false, err
		}
		r.number++
		text = bytes.TrimSuffix(bytes.TrimSuffix(text, []byte("\n")), []byte("\r"))
		if r.number == 1 {
			text = bytes.TrimPrefix(text, []byte("\ufeff"))
		}
		return text, long || len(text) > maxImportLine, nil
	}
}

// newJSONSource reads objects, one a line; or else one array of objects, as `list -o
// json` prints it.
func newJSONSource(in *bufio.Reader) (importSource, error) {
	start, err := in.Peek(min(in.Size(), 512))
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	start = bytes.TrimLeft(bytes.TrimPrefix(start, []byte("\ufeff")), " \t\r\n")
	if bytes.HasPrefix(start, []byte("[")) {
		return newJSONArray(in)
	}
	return &jsonLines{lineReader{in: in}}, nil
}

type jsonLines struct{ lines lineReader }

func (s *jsonLines) next() (importLine, error) {
	for {
		text, long, err := s.lines.next()
		switch {
		case err != nil:
			return importLine{}, err
		case long:
			return importLine{number: s.lines.number, refusal: errImportLineLong}, nil
		case len(bytes.TrimSpace(text)) == 0:
			continue
		}
		l := importLine{number: s.lines.number}
		l.members, l.refusal = parseObject(text)
		return l, nil
	}
}

// jsonArray reads the elements of one array.
type jsonArray struct {
	text    []byte
	decoder *json.Decoder
	line    int   // at the offset
	offset  int64 // up to which lines were counted
	ended   bool
}

func newJSONArray(in io.Reader) (*jsonArray, error) {
	text, err := io.ReadAll(in)
	text = bytes.TrimPrefix(text, []byte("\ufeff"))
	s := &jsonArray{text: text, decoder: json.NewDecoder(bytes.NewReader(text)), line: 1}
	if err == nil {
		_, err = s.decoder.Token()
	}
	return s, err
}

// next reads an element. Where the array is broken, nobody knows where the next one
// would begin.
func (s *jsonArray) next() (importLine, error) {
	if s.ended {
		return importLine{}, io.EOF
	}
	if !s.decoder.More() {
		return s.end()
	}
	var element json.RawMessage
	if err := s.decoder.Decode(&element); err != nil {
		return s.broken(), nil
	}
	l := importLine{number: s.lineAt(s.decoder.InputOffset() - int64(len(element)))}
	if l.members, l.refusal = parseObject(element); len(element) > maxImportLine {
		l.refusal = errImportLineLong
	}
	return l, nil
}

// end reads the bracket, after which there must be nothing.
func (s *jsonArray) end() (importLine, error) {
	_, err := s.decoder.Token()
	if err != nil || len(bytes.TrimSpace(s.text[s.decoder.InputOffset():])) > 0 {
		return s.broken(), nil
	}
	s.ended = true
	return importLine{}, io.EOF
}

func (s *jsonArray) broken() importLine {
	s.ended = true
	return importLine{number: s.lineAt(s.decoder.InputOffset()), refusal: errors.New("the array is broken here, and nothing after it was read")}
}

func (s *jsonArray) lineAt(offset int64) int {
	s.line += bytes.Count(s.text[s.offset:offset], []byte("\n"))
	s.offset = offset
	return s.line
}

// parseObject reads a JSON object; null says nothing.
func parseObject(text []byte) ([]importMember, error) {
	if !utf8.Valid(text) {
		return nil, errImportUTF8
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	if token, err := decoder.Token(); err != nil || token != json.Delim('{') {
		return nil, errImportObject
	}
	var members []importMember
	for decoder.More() {
		name, err := decoder.Token()
		var m importMember
		if err == nil {
			m.name, _ = name.(string) // the decoder lets nothing else be one
			err = decoder.Decode(&m.value)
		}
		if err != nil {
			return nil, errImportObject
		}
		if m.value != nil {
			members = append(members, m)
		}
	}
	if _, err := decoder.Token(); err != nil || len(bytes.TrimSpace(text[decoder.InputOffset():])) > 0 {
		return nil, errImportObject
	}
	return members, nil
}

// Why a line cannot be read.
var (
	errImportUTF8   = errors.New("it is not UTF-8")
	errImportObject = errors.New("it is not a JSON object")
	errImportCSV    = errors.New("it is not well-formed CSV: a quote is missing, or in the wrong place")
)

// csvLines reads records of comma-separated values (RFC 4180), after a first one with
// the names of the columns.
type csvLines struct {
	lines  lineReader
	ahead  []csvText // read already
	header []string
}

// csvCell is the text of a cell, in which a list has commas or spaces.
type csvCell string

// csvText is a line as it was read.
type csvText struct {
	number int
	text   []byte
	long   bool
}

func newCSVSource(in *bufio.Reader) (*csvLines, error) {
	s := &csvLines{lines: lineReader{in: in}}
	cells, l, err := s.record()
	if errors.Is(err, io.EOF) {
		return nil, errors.New("there is no line with the names of the columns")
	}
	if err == nil && l.refusal != nil {
		err = fmt.Errorf("line %d, with the names of the columns: %w", l.number, l.refusal)
	}
	s.header = cells
	return s, err
}

func (s *csvLines) next() (importLine, error) {
	cells, l, err := s.record()
	if err != nil || l.refusal != nil {
		return l, err
	}
	if len(cells) != len(s.header) {
		l.refusal = fmt.Errorf("it has %d cells for %d columns", len(cells), len(s.header))
		return l, nil
	}
	for i, cell := range cells {
		if cell != "" {
			l.members = append(l.members, importMember{s.header[i], csvCell(cell)})
		}
	}
	return l, nil
}

// record reads a record, which goes on to the next line where a quote is open. So what
// is in a cell never becomes a record of its own. Where the record is malformed, only
// its first line is, and the next line begins the next one.
func (s *csvLines) record() ([]string, importLine, error) {
	first, err := s.line()
	for err == nil && len(first.text) == 0 && !first.long {
		first, err = s.line()
	}
	l := importLine{number: first.number}
	if err != nil || first.long {
		l.refusal = errImportLineLong
		return nil, l, err
	}
	text, more, err := s.untilClosed(first)
	if err != nil {
		return nil, l, err
	}
	if !utf8.Valid(text) {
		l.refusal = errImportUTF8
		return nil, l, nil
	}
	reader := csv.NewReader(bytes.NewReader(text))
	cells, err := reader.Read()
	if err != nil || len(text) > maxImportLine || reader.InputOffset() != int64(len(text)) {
		s.ahead = append(more, s.ahead...)
		l.refusal = errImportCSV
	}
	return cells, l, nil
}

// untilClosed reads on until the quotes of a record are closed; more are the lines
// after its first.
func (s *csvLines) untilClosed(first csvText) (text []byte, more []csvText, err error) {
	text = bytes.Clone(first.text)
	for state := atCell.after(first.text); state == inQuotes && len(text) <= maxImportLine; {
		line, err := s.line()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, nil, err
		}
		more = append(more, line)
		text = append(append(text, '\n'), line.text...)
		state = state.after(line.text)
	}
	return text, more, nil
}

// csvState is where a CSV record is read.
type csvState int

const (
	atCell      csvState = iota // at the beginning of a cell
	inCell                      // where there must be no quote
	inQuotes                    // where a comma, or the end of a line, ends nothing
	afterQuotes                 // or after the first of two quotes, which mean one
	malformed
)

// after returns the state at the end of a line.
func (s csvState) after(line []byte) csvState {
	for _, c := range line {
		switch {
		case c == '"' && s == inQuotes:
			s = afterQuotes
		case c == '"' && (s == atCell || s == afterQuotes):
			s = inQuotes
		case s == inQuotes || s == malformed:
		case c == ',':
			s = atCell
		case c == '"' || s == afterQuotes:
			s = malformed
		default:
			s = inCell
		}
	}
	return s
}

func (s *csvLines) line() (csvText, error) {
	if len(s.ahead) > 0 {
		line := s.ahead[0]
		s.ahead = s.ahead[1:]
		return line, nil
	}
	text, long, err := s.lines.next()
	return csvText{s.lines.number, text, long}, err
}

// newImportSource reads a file in the format that is said, or that its name says.
func newImportSource(in io.Reader, format string) (importSource, error) {
	buffered := bufio.NewReaderSize(in, 64<<10)
	if format == "csv" {
		return newCSVSource(buffered)
	}
	return newJSONSource(buffered)
}

// importFormat is the format that is said, or that the name of the file says.
func importFormat(file, format string) (string, error) {
	lower := strings.ToLower(file)
	switch {
	case format == "csv" || format == "json":
		return format, nil
	case format != "":
		return "", usageError{fmt.Errorf("--format is json or csv, not %q", format)}
	case strings.HasSuffix(lower, ".csv"):
		return "csv", nil
	case strings.HasSuffix(lower, ".json"), strings.HasSuffix(lower, ".jsonl"), strings.HasSuffix(lower, ".ndjson"):
		return "json", nil
	}
	return "", usageError{errors.New("the name of the file does not say its format: give --format json or --format csv")}
}

package config

import (
	"errors"
	"fmt"
	"reflect"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// defaultList stands in a list of globs for the defaults of that list: what
// is written replaces them, this word adds them back.
const defaultList = "$default"

// decoder fills a Config from the nodes of a file. It goes by the nodes and
// not by yaml.Unmarshal because every error, also a wrong unit or a value
// that does not fit another one, is to say where it stands.
type decoder struct {
	file    string
	from    origin
	anchors map[string]ast.Node
	errs    Errors
}

// decodeFile reads one YAML document over what c holds.
func decodeFile(c *Config, file string, data []byte) error {
	parsed, err := parser.ParseBytes(data, 0)
	if err != nil {
		return syntaxError(file, err)
	}
	d := &decoder{file: file, from: c.origin, anchors: map[string]ast.Node{}}
	for i, doc := range parsed.Docs {
		if i > 0 && doc.Body != nil {
			d.fail(doc.Body, "a second document begins, write one only")
			break
		}
		if doc.Body != nil {
			d.group(reflect.ValueOf(c).Elem(), doc.Body, "")
		}
	}
	return d.errs.orNil()
}

func syntaxError(file string, err error) error {
	var syntax *yaml.SyntaxError
	if errors.As(err, &syntax) && syntax.Token != nil {
		return Errors{{Place: position(file, syntax.Token), Text: "this is not YAML: " + syntax.Message}}
	}
	return Errors{{Place: file, Text: "this is not YAML: " + err.Error()}}
}

func position(file string, t *token.Token) string {
	if t == nil || t.Position == nil {
		return file
	}
	return fmt.Sprintf("%s:%d:%d", file, t.Position.Line, t.Position.Column)
}

func (d *decoder) fail(n ast.Node, format string, args ...any) {
	d.errs = append(d.errs, &Error{Place: position(d.file, n.GetToken()), Text: fmt.Sprintf(format, args...)})
}

// resolve looks through anchors and aliases; nil when there is nothing.
func (d *decoder) resolve(n ast.Node) ast.Node {
	switch n := n.(type) {
	case *ast.AnchorNode:
		d.anchors[n.Name.GetToken().Value] = n.Value
		return d.resolve(n.Value)
	case *ast.AliasNode:
		name := n.Value.GetToken().Value
		if v := d.anchors[name]; v != nil {
			return d.resolve(v)
		}
		d.fail(n, "there is no anchor %q above", name)
		return nil
	case *ast.NullNode:
		return nil
	}
	return n
}

func entries(n ast.Node) ([]*ast.MappingValueNode, bool) {
	switch n := n.(type) {
	case *ast.MappingNode:
		return n.Values, true
	case *ast.MappingValueNode:
		return []*ast.MappingValueNode{n}, true
	}
	return nil, false
}

// group reads a mapping into the struct v.
func (d *decoder) group(v reflect.Value, n ast.Node, path string) {
	n = d.resolve(n)
	if n == nil {
		return
	}
	values, ok := entries(n)
	if !ok {
		d.fail(n, "%s: keys are missing, write for example %q", orFile(path), keysOf(v.Type())[0]+": …")
		return
	}
	for _, e := range values {
		if e.Key.IsMergeKey() { // what is merged in never wins over what is written
			d.group(v, e.Value, path)
		}
	}
	for _, e := range values {
		if !e.Key.IsMergeKey() {
			d.entry(v, e, path)
		}
	}
}

func orFile(path string) string {
	if path == "" {
		return "the file"
	}
	return path
}

func (d *decoder) entry(v reflect.Value, e *ast.MappingValueNode, path string) {
	key := e.Key.GetToken().Value
	var field *reflect.StructField
	fieldsOf(v.Type(), func(k string, f reflect.StructField) {
		if k == key {
			field = &f
		}
	})
	if field == nil {
		d.fail(e.Key, "%s", unknownKey(key, v.Type()))
		return
	}
	full := join(path, key)
	d.from[full] = place(position(d.file, e.Key.GetToken()))
	d.value(v.FieldByIndex(field.Index), *field, e.Value, full)
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

func (d *decoder) value(v reflect.Value, f reflect.StructField, n ast.Node, path string) {
	n = d.resolve(n)
	switch {
	case n == nil:
		return // "key:" without a value leaves the default
	case isGroup(v.Type()):
		d.group(v, n, path)
	case v.Kind() == reflect.Slice:
		d.list(v, n, path)
	default:
		text, ok := scalar(n)
		if !ok {
			d.fail(n, "%s: one value is wanted here, not a list or keys", path)
			return
		}
		if err := setScalar(v, f, text); err != nil {
			d.fail(n, "%s: %v", path, err)
		}
	}
}

// scalar is the text of a value as it is written, so that 0640 stays 0640.
func scalar(n ast.Node) (string, bool) {
	switch n := n.(type) {
	case *ast.LiteralNode:
		return n.Value.Value, true
	case *ast.StringNode:
		return n.Value, true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		return n.GetToken().Value, true
	}
	return "", false
}

// list reads a sequence; it replaces what v holds.
func (d *decoder) list(v reflect.Value, n ast.Node, path string) {
	seq, ok := n.(*ast.SequenceNode)
	if !ok {
		d.fail(n, "%s: a list is wanted here, write %q", path, "- …")
		return
	}
	defaults := reflect.ValueOf(v.Interface())
	v.Set(reflect.MakeSlice(v.Type(), 0, len(seq.Values)))
	for i, item := range seq.Values {
		at := fmt.Sprintf("%s[%d]", path, i)
		e := reflect.New(v.Type().Elem()).Elem()
		d.from[at] = place(position(d.file, item.GetToken()))
		if isGroup(e.Type()) {
			e.Set(reflect.ValueOf(defaultSink()))
			d.group(e, item, at)
			v.Set(reflect.Append(v, e))
			continue
		}
		d.value(e, reflect.StructField{}, item, at)
		if e.Kind() == reflect.String && e.String() == defaultList {
			v.Set(reflect.AppendSlice(v, defaults))
			continue
		}
		v.Set(reflect.Append(v, e))
	}
}

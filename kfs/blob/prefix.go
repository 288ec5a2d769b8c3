package blob

import (
	"context"
	"errors"
	"io"
	"iter"
	"strings"
)

// Prefix is a view of s in which every key is relative to prefix, which ends with a slash or is empty. It is a Copier if s is one.
func Prefix(s Store, prefix string) Store {
	if prefix == "" {
		return s
	}
	if c, ok := s.(Copier); ok {
		return prefixedCopier{prefixed{s, prefix}, c}
	}
	return prefixed{s, prefix}
}

type prefixed struct {
	store  Store
	prefix string
}

// below is the store that the view is of, and the prefix.
func (p prefixed) below() (Store, string) { return p.store, p.prefix }

func (p prefixed) cut(i Info) Info {
	i.Key = strings.TrimPrefix(i.Key, p.prefix)
	return i
}

func (p prefixed) Get(ctx context.Context, key string, r Range) (io.ReadCloser, Info, error) {
	if err := CheckKey(key); err != nil {
		return nil, Info{}, err
	}
	body, info, err := p.store.Get(ctx, p.prefix+key, r)
	return body, p.cut(info), err
}

func (p prefixed) Put(ctx context.Context, key string, body []byte, ifAbsent bool) (Info, error) {
	if err := CheckKey(key); err != nil {
		return Info{}, err
	}
	info, err := p.store.Put(ctx, p.prefix+key, body, ifAbsent)
	return p.cut(info), err
}

func (p prefixed) List(ctx context.Context, prefix, after string) iter.Seq2[Page, error] {
	return func(yield func(Page, error) bool) {
		start := after
		if start != "" {
			start = p.prefix + start
		}
		for page, err := range p.store.List(ctx, p.prefix+prefix, start) {
			for i := range page.Objects {
				page.Objects[i] = p.cut(page.Objects[i])
			}
			if !yield(page, err) {
				return
			}
		}
	}
}

func (p prefixed) Delete(ctx context.Context, key string) error {
	if err := CheckKey(key); err != nil {
		return err
	}
	return p.store.Delete(ctx, p.prefix+key)
}

// behind is the store behind all prefixes, and a key's name there.
func behind(s Store, key string) (Store, string) {
	for {
		view, ok := s.(interface{ below() (Store, string) })
		if !ok {
			return s, key
		}
		store, prefix := view.below()
		s, key = store, prefix+key
	}
}

type prefixedCopier struct {
	prefixed
	copier Copier
}

func (p prefixedCopier) Copy(ctx context.Context, from Store, key, to string) (Info, error) {
	if err := errors.Join(CheckKey(key), CheckKey(to)); err != nil {
		return Info{}, err
	}
	from, key = behind(from, key)
	info, err := p.copier.Copy(ctx, from, key, p.prefix+to)
	return p.cut(info), err
}

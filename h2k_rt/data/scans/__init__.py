"""Scans of people that you have a licence for (RenderPeople, THuman2.0, 2K2K), rendered into the dataset format.

Needs the extra ``people``.
"""
